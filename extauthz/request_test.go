package extauthz_test

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

func TestHeadersThatMatterHaveOneReading(t *testing.T) {
	plus := func(name, value string) func(*bench, asked) asked {
		return func(_ *bench, a asked) asked { return a.plus(name, value) }
	}
	with := func(name, value string) func(*bench, asked) asked {
		return func(_ *bench, a asked) asked { return a.with(name, value) }
	}
	malformed := func(request func(*bench, asked) asked) refusal {
		return refusal{request: request, reason: authority.ReasonMalformedHeader, status: 400}
	}
	ambiguous := func(request func(*bench, asked) asked) refusal {
		return refusal{request: request, reason: authority.ReasonAmbiguousHeader, status: 400}
	}
	ambiguousMandate := func(request func(*bench, asked) asked) refusal {
		return refusal{request: request, reason: authority.ReasonAmbiguousMandate, status: 400}
	}
	mismatch := func(request func(*bench, asked) asked) refusal {
		return refusal{request: request, reason: authority.ReasonTargetMismatch, status: 400}
	}
	refusals(t, map[string]refusal{
		"the same mandate twice": ambiguousMandate(func(b *bench, a asked) asked {
			return a.plus("x-caracal-mandate", string(b.Mandate.ID))
		}),
		"two mandates, both good": ambiguousMandate(func(b *bench, a asked) asked {
			return a.plus("x-caracal-mandate", string(b.Delegated.ID))
		}),
		"a good mandate, then garbage": ambiguousMandate(plus("x-caracal-mandate", "x")),
		"garbage, then a good mandate": ambiguousMandate(func(b *bench, a asked) asked {
			return a.with("x-caracal-mandate", "x").plus("x-caracal-mandate", string(b.Mandate.ID))
		}),
		"an empty mandate beside a good one": ambiguousMandate(plus("x-caracal-mandate", "")),
		"two mandates joined by a comma": ambiguousMandate(func(b *bench, a asked) asked {
			return a.with("x-caracal-mandate", string(b.Mandate.ID)+","+string(b.Delegated.ID))
		}),
		"two mandates joined by a space": ambiguousMandate(func(b *bench, a asked) asked {
			return a.with("x-caracal-mandate", string(b.Mandate.ID)+" "+string(b.Delegated.ID))
		}),
		"two Authorization headers": ambiguous(plus("authorization", "Bearer x")),
		"two targets":               ambiguous(plus("x-caracal-target-url", "https://evil.test/")),
		"two upstream authorizations": ambiguous(func(_ *bench, a asked) asked {
			return a.plus("x-caracal-upstream-authorization", "a").plus("x-caracal-upstream-authorization", "b")
		}),
		"two headers of ours that mean nothing": ambiguous(func(_ *bench, a asked) asked {
			return a.plus("x-caracal-principal", "a").plus("x-caracal-principal", "b")
		}),
		"two Upgrade headers": ambiguous(func(_ *bench, a asked) asked {
			return a.plus("upgrade", "websocket").plus("upgrade", "tls")
		}),
		"two Host headers, which Envoy joins":  ambiguous(func(_ *bench, a asked) asked { a.host = "a.test,b.test"; return a }),
		"a Host header beside :authority":      mismatch(plus("host", "evil.test")),
		"an empty Host header":                 mismatch(plus("host", "")),
		"a second :path":                       ambiguous(plus(":path", "/health")),
		"a second :authority":                  ambiguous(plus(":authority", "evil.test")),
		"a method override":                    mismatch(plus("x-http-method-override", "DELETE")),
		"the older spelling of an override":    mismatch(plus("x-http-method", "DELETE")),
		"a third spelling of an override":      mismatch(plus("x-method-override", "DELETE")),
		"an underscore that may be a hyphen":   malformed(plus("x_caracal_mandate", "x")),
		"a space after a name":                 malformed(plus("x-caracal-mandate ", "x")),
		"a name in capitals":                   malformed(plus("X-Caracal-Mandate", "x")),
		"no name":                              malformed(plus("", "x")),
		"a name outside ASCII":                 malformed(plus("x-caracal\u2010mandate", "x")),
		"a NUL in any header":                  malformed(plus("x-title", "a\x00b")),
		"a line break in any header":           malformed(plus("x-title", "a\r\nx-caracal-mandate: b")),
		"a DEL in any header":                  malformed(plus("x-title", "a\x7fb")),
		"a tab in a mandate":                   malformed(with("x-caracal-mandate", "mdt\tx")),
		"bytes outside ASCII in a mandate":     malformed(with("x-caracal-mandate", "mdt_\xff\xfe")),
		"a dash that only looks like one":      malformed(with("authorization", "Bearer a\u2010b")),
		"a space before a mandate":             malformed(with("x-caracal-mandate", " x")),
		"a space after a target":               malformed(with("x-caracal-target-url", "https://echo.caracal.test:9443/ ")),
		"bytes outside ASCII in the authority": malformed(func(_ *bench, a asked) asked { a.host = "caf\xc3\xa9.test"; return a }),
		"more headers than anyone needs": malformed(func(_ *bench, a asked) asked {
			for i := range 300 {
				a = a.plus(fmt.Sprintf("x-h%d", i), "v")
			}
			return a
		}),
		"more bytes than anyone needs": malformed(plus("x-large", strings.Repeat("a", 100<<10))),
	})
}

func TestTheRestOfTheHeadersIsTheCallersBusiness(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	request := b.proxied(
		pair{"x-title", "caf\xc3\xa9"}, pair{"x-empty", ""}, pair{"x-tab", "a\tb"},
		pair{"accept-language", "de"}, pair{"accept-language", "en"}, pair{"x-request-id", "abc"}, pair{"cookie", "a=b"},
		pair{"forwarded", "for=1.2.3.4"}, pair{"via", "1.1 x"}, pair{"te", "trailers"}, pair{"idempotency-key", "1"},
	)
	p := wantPermission(t, b.check(t, request.check()))
	for _, name := range []string{"x-title", "x-empty", "x-tab", "accept-language", "x-request-id", "cookie", "forwarded", "via", "te", "idempotency-key", "content-type", "content-length", "user-agent"} {
		if _, set := p.set[name]; set || p.remove[name] {
			t.Errorf("%s does not arrive as the caller sent it", name)
		}
	}
}

// garbage is what a caller of the check's own socket could send. None of it may be answered with a permission.
func garbage(b *bench) map[string]*authv3.CheckRequest {
	change := func(edit func(*authv3.CheckRequest)) *authv3.CheckRequest {
		check := b.proxied().check()
		edit(check)
		return check
	}
	http := func(check *authv3.CheckRequest) *authv3.AttributeContext_HttpRequest {
		return check.GetAttributes().GetRequest().GetHttp()
	}
	return map[string]*authv3.CheckRequest{
		"nil":           nil,
		"empty":         {},
		"no request":    change(func(c *authv3.CheckRequest) { c.Attributes.Request = nil }),
		"no HTTP":       change(func(c *authv3.CheckRequest) { c.Attributes.Request.Http = nil }),
		"no header map": change(func(c *authv3.CheckRequest) { http(c).HeaderMap = nil }),
		"no headers":    change(func(c *authv3.CheckRequest) { http(c).HeaderMap.Headers = nil }),
		"a nil header":  change(func(c *authv3.CheckRequest) { http(c).HeaderMap.Headers[4] = nil }),
		"a map of headers beside the list": change(func(c *authv3.CheckRequest) {
			http(c).Headers = map[string]string{"x-caracal-mandate": string(b.Mandate.ID)}
		}),
		"headers that are not raw": change(func(c *authv3.CheckRequest) {
			for _, h := range http(c).GetHeaderMap().GetHeaders() {
				h.Value, h.RawValue = string(h.GetRawValue()), nil
			}
		}),
		"a header with two values": change(func(c *authv3.CheckRequest) { http(c).HeaderMap.Headers[5].Value = "other" }),
		"no pseudo-headers":        change(func(c *authv3.CheckRequest) { http(c).HeaderMap.Headers = http(c).HeaderMap.Headers[4:] }),
		"a path that differs":      change(func(c *authv3.CheckRequest) { http(c).Path = "/health" }),
		"a method that differs":    change(func(c *authv3.CheckRequest) { http(c).Method = "GET" }),
		"a host that differs":      change(func(c *authv3.CheckRequest) { http(c).Host = "evil.test" }),
		"no way in":                change(func(c *authv3.CheckRequest) { c.Attributes.ContextExtensions = nil }),
		"an unknown way in":        change(func(c *authv3.CheckRequest) { c.Attributes.ContextExtensions[envoy.ModeKey] = "backward" }),
		"a way in of another case": change(func(c *authv3.CheckRequest) { c.Attributes.ContextExtensions[envoy.ModeKey] = "Gateway" }),
		"an unknown pseudo-header": change(func(c *authv3.CheckRequest) {
			http(c).HeaderMap.Headers = append(http(c).HeaderMap.Headers, &corev3.HeaderValue{Key: ":protocol", RawValue: []byte("websocket")})
		}),
	}
}

func TestGarbageIsDenied(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	for name, check := range garbage(b) {
		t.Run(name, func(t *testing.T) {
			before := len(b.events.all())
			wantDenial(t, b.check(t, check))
			if after := len(b.events.all()); after != before+1 {
				t.Errorf("%d events were recorded, want 1", after-before)
			}
		})
	}
}
