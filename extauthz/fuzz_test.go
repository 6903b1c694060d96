package extauthz_test

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/pki"
	"github.com/caracal-gateway/caracal/lease"
)

// wellFormed holds any answer against what every answer must be, and reports whether it is a permission.
func wellFormed(t testing.TB, answer *authv3.CheckResponse) bool {
	t.Helper()
	if answer.GetOkResponse() != nil {
		p := wantPermission(t, answer)
		if p.set[envoy.RouteHeader] == "" {
			t.Error("a permission that names no route")
		}
		return true
	}
	wantDenial(t, answer)
	return false
}

// A request that differs in anything from one that may pass is refused, unless what differs is the caller's business.
func TestNoChangeOfARequestOpensAWay(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	good := b.proxied()
	names := []string{
		"authorization", "x-caracal-mandate", "x-caracal-target-url", "x-caracal-upstream-authorization", "x-caracal-int-route", "host",
		"upgrade", ":path", ":method", ":authority", "x-http-method-override", "x_caracal_mandate", "x-title", "x-forwarded-proto", "cookie", "",
	}
	values := []string{
		"", " ", "Bearer " + b.Token(b.Child.ID), "Bearer " + b.Token(b.Agent.ID), string(b.Mandate.ID), string(b.Delegated.ID), "self", "websocket",
		"/health", "https://echo.caracal.test:9443/admin", "https://evil.test/", "a,b", "\x00", "\xff", "GET", "x",
	}
	rapid.Check(t, func(r *rapid.T) {
		request := good
		changes := rapid.IntRange(1, 3).Draw(r, "changes")
		for range changes {
			name := rapid.SampledFrom(names).Draw(r, "name")
			value := rapid.OneOf(rapid.SampledFrom(values), rapid.String()).Draw(r, "value")
			switch rapid.IntRange(0, 5).Draw(r, "kind") {
			case 0:
				request = request.without(name)
			case 1:
				request = request.with(name, value)
			case 2:
				request = request.plus(name, value)
			case 3:
				request.path = rapid.OneOf(rapid.SampledFrom(values), rapid.Just("/api/proxy")).Draw(r, "path")
			case 4:
				request.mode = rapid.SampledFrom([]string{"", "proxy", "self", "plain", "connect", "forward"}).Draw(r, "mode")
			case 5:
				request.method = rapid.SampledFrom([]string{"POST", "GET", "TRACE", "CONNECT", "post", ""}).Draw(r, "method")
			}
		}
		answer := b.check(t, request.check())
		if !wellFormed(t, answer) {
			return
		}
		p := wantPermission(t, answer)
		if p.set[envoy.RouteHeader] == envoy.RouteSelf {
			if request.mode != envoy.ModeGateway && request.mode != envoy.ModePlain || request.path != "/health" || request.method != "GET" {
				r.Fatalf("the gateway itself is asked by %+v", request)
			}
			return
		}
		count := map[string]int{}
		last := map[string]string{}
		for _, h := range request.headers {
			count[h.name]++
			last[h.name] = h.value
		}
		permitted := request.mode == envoy.ModeGateway && request.path == "/api/proxy" &&
			count["authorization"] == 1 && last["authorization"] == "Bearer "+strings.TrimPrefix(last["authorization"], "Bearer ") &&
			count["x-caracal-mandate"] == 1 && last["x-caracal-mandate"] == string(b.Mandate.ID) &&
			count["x-caracal-target-url"] == 1 && strings.HasPrefix(last["x-caracal-target-url"], "https://echo.caracal.test:9443/") &&
			last["x-caracal-target-url"] != "https://echo.caracal.test:9443/admin" &&
			count["x-http-method-override"] == 0 && count["x_caracal_mandate"] == 0 && count["host"] == 0
		if !permitted {
			r.Fatalf("a permission for %+v", request)
		}
	})
}

func FuzzCheck(f *testing.F) {
	b := newBench(f)
	b.enforce(f)
	seeds := garbage(b)
	seeds["good"] = b.proxied().check()
	seeds["health"] = asked{mode: envoy.ModeGateway, method: "GET", path: "/health", host: "h"}.check()
	for _, seed := range seeds {
		data, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var check authv3.CheckRequest
		if proto.Unmarshal(data, &check) != nil {
			return
		}
		wellFormed(t, b.check(t, &check))
	})
}

func FuzzHeaders(f *testing.F) {
	b := newBench(f)
	b.enforce(f)
	for _, h := range []pair{
		{"x-title", "a"}, {"x-caracal-mandate", string(b.Mandate.ID)}, {"authorization", "Bearer x"}, {":path", "/health"},
		{"x-caracal-int-route", "self"}, {"host", "localhost:8443"}, {"cookie", "t=" + b.Token(b.Agent.ID)}, {"x_caracal_mandate", "x"},
	} {
		f.Add(h.name, h.value)
	}
	good := b.proxied()
	plain := wantPermission(f, b.check(f, good.check()))
	f.Fuzz(func(t *testing.T, name, value string) {
		answer := b.check(t, good.plus(name, value).check())
		if !wellFormed(t, answer) {
			return
		}
		p := wantPermission(t, answer)
		for _, fixed := range []string{":scheme", ":authority", ":path", envoy.RouteHeader} {
			if p.set[fixed] != plain.set[fixed] {
				t.Errorf("the header %q: %q changes %s from %q to %q", name, value, fixed, plain.set[fixed], p.set[fixed])
			}
		}
		kept := !p.remove[name] && p.set[name] == ""
		if kept && (strings.HasPrefix(name, "x-caracal-") || strings.HasPrefix(name, "proxy-") || strings.HasPrefix(name, "x-envoy-")) {
			t.Errorf("%s reaches the upstream", name)
		}
		if strings.ContainsAny(name+value, "\r\n\x00") || strings.ToLower(name) != name || strings.Contains(name, "_") {
			t.Errorf("the header %q: %q passed", name, value)
		}
	})
}

// FuzzPeer shows certificates of any form, without a token: only the one that an authority vouches for is somebody's.
func FuzzPeer(f *testing.F) {
	root := pki.New(f)
	good := root.Client(f, at(-time.Hour, 5*365*24*time.Hour), pki.SPIFFE(f, workload)).Certificate[0]
	stranger := pki.New(f).Client(f, at(-time.Hour, 5*365*24*time.Hour), pki.SPIFFE(f, workload)).Certificate[0]
	b := newBench(f)
	b.trusting(root, bind(authority.NameSPIFFE, workload, b.Agent))
	b.enforce(f)
	for _, der := range [][]byte{good, stranger, good[:len(good)-1], {0x30}} {
		f.Add(der, `Chain="`+escaped(der, root.Certificate.Raw)+`"`)
		f.Add(der, `By=x;Hash=00;Chain="`+escaped(der)+`%zz"`)
	}
	unnamed := b.proxied().without("authorization")
	f.Fuzz(func(t *testing.T, der []byte, forwarded string) {
		b.elapsed += time.Minute // so that nothing is remembered of the input before
		b.service.Hold(lease.From(b.read(), 1, lease.MaxTerm))
		check := unnamed.with("x-forwarded-client-cert", forwarded).check()
		check.Attributes.Source.Certificate = escaped(der)
		answer := b.check(t, check)
		if bytes.Equal(der, good) {
			wellFormed(t, answer)
			return
		}
		switch d := wantDenial(t, answer); authority.Reason(d.Error) {
		case authority.ReasonAuthFailed, authority.ReasonMalformedRequest, authority.ReasonMalformedHeader:
		default:
			t.Errorf("%x is denied for %s: it was taken for somebody", der, d.Error)
		}
	})
}

// FuzzConnect asks for tunnels to anything: what is permitted goes to a name and a port in their one spelling.
func FuzzConnect(f *testing.F) {
	b := newBench(f)
	b.Issue(b.Agent.ID, everything("*"))
	b.enforce(f)
	for _, seed := range []string{
		"pub.test:443", "PUB.test.:443", "echo.caracal.test:9443", "127.0.0.1:443", "[::1]:443", "0x7f.1:80", "a@b:443", "pub.test", ":443", "pub.test:0443", "a,b:443", "pub.test:443/x",
	} {
		f.Add(seed)
	}
	request := b.connecting("")
	f.Fuzz(func(t *testing.T, target string) {
		request.host = target
		answer := b.check(t, request.check())
		if !wellFormed(t, answer) {
			return
		}
		authorityOf := wantPermission(t, answer).set[":authority"]
		host, port, err := authority.ParseHostPort(authorityOf)
		if err != nil || authorityOf != host+":"+strconv.Itoa(int(port)) || !strings.HasPrefix(strings.ToLower(target), host) {
			t.Errorf("%q opens a tunnel to %q", target, authorityOf)
		}
	})
}

// FuzzProxyCredential shows anything to the proxy: who is let in is the agent, by its own token.
func FuzzProxyCredential(f *testing.F) {
	b := newBench(f)
	b.enforce(f)
	token := b.Token(b.Agent.ID)
	for _, seed := range []string{
		basic("-", token), basic(string(b.Mandate.ID), token), "Bearer " + token, basic("", token), "Basic", "basic -", token, basic("-", token) + "=", "Basic " + token, basic("-", b.Token(b.Child.ID)),
	} {
		f.Add(seed)
	}
	request := b.forwarded("POST", "https://echo.caracal.test:9443/x")
	f.Fuzz(func(t *testing.T, value string) {
		answer := b.check(t, request.with("proxy-authorization", value).check())
		if !wellFormed(t, answer) {
			return
		}
		_, encoded, _ := strings.Cut(value, " ")
		decoded, _ := base64.StdEncoding.DecodeString(encoded) // what is no Basic is a bearer
		if !strings.Contains(value, token) && !strings.HasSuffix(string(decoded), ":"+token) {
			t.Errorf("%q is taken for the agent", value)
		}
	})
}
