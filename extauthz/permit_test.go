package extauthz_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
)

func TestNothingOfOursReachesTheUpstream(t *testing.T) {
	b := newBench(t)
	key := b.Key(b.Agent.ID).Reveal()
	b.enforce(t)
	own := []pair{
		{"x-caracal-principal", "admin"}, {"x-caracal-verified", "1"}, {"x-caracal-int-route", "public-plain"},
		{"x-envoy-original-path", "/z"}, {"x-envoy-max-retries", "3"}, {"x-forwarded-client-cert", "By=x"}, {"x-forwarded-host", "h"},
		{"proxy-authorization", "Basic x"}, {"proxy-connection", "keep-alive"},
		{"x-original-url", "/admin"}, {"x-rewrite-url", "/admin"},
		{"client-cert", ":AAAA:"}, {"client-cert-chain", ":AAAA:"}, {"x-spiffe-id", workload}, {"x-ssl-client-verify", "SUCCESS"},
		{"ssl-client-cert", "x"}, {"x-client-cert-chain", "x"}, {"x-client-certificate", "x"},
		{"cookie", "session=" + key}, {"x-debug", "token " + b.Token(b.Agent.ID)}, {"x-note", b.Mandate.Signature},
	}
	p := wantPermission(t, b.check(t, b.proxied(own...).check()))
	for _, h := range own {
		if h.name == envoy.RouteHeader {
			if p.set[h.name] == h.value {
				t.Errorf("the caller chose the route %q", h.value)
			}
			continue
		}
		if !p.remove[h.name] {
			t.Errorf("%s reaches the upstream", h.name)
		}
	}
}

func TestTheCallersAuthorizationForTheUpstreamGoesOn(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	p := wantPermission(t, b.check(t, b.proxied(pair{"x-caracal-upstream-authorization", "Bearer sk-upstream"}).check()))
	if p.set["authorization"] != "Bearer sk-upstream" || !p.remove["x-caracal-upstream-authorization"] {
		t.Errorf("set %v, removed %v", p.set, p.remove)
	}
}

func TestADestinationsCredentialReplacesWhatTheCallerSends(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "from-file"), []byte("f1le\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		credential authority.Credential
		want       map[string]string
	}{
		"in a header of its own": {
			authority.Credential{Name: "model", Header: "x-api-key"},
			map[string]string{"x-api-key": "s3cret", "authorization": "Bearer sk-upstream"},
		},
		"in the Authorization header, where it goes before the caller's": {
			authority.Credential{Name: "model", Header: "authorization", Prefix: "Bearer "}, map[string]string{"authorization": "Bearer s3cret"},
		},
		"from a file, whose line end is no part of it": {
			authority.Credential{Name: "from-file", Header: "x-api-key"}, map[string]string{"x-api-key": "f1le", "authorization": "Bearer sk-upstream"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(config *extauthz.Config) {
				config.Credentials = extauthz.NewCredentials(directory, func(name string) (string, bool) {
					return "s3cret", name == extauthz.CredentialVariable+"MODEL"
				})
			})
			b.State.Destinations[1].Credential = &c.credential
			b.enforce(t)
			request := b.proxied(pair{"x-caracal-upstream-authorization", "Bearer sk-upstream"}, pair{"x-api-key", "mine"}, pair{"x-api-key", "mine too"})
			p := wantPermission(t, b.check(t, request.with("x-caracal-target-url", "https://api.model.test/v1/chat").check()))
			for _, routing := range []string{":scheme", ":authority", ":path", envoy.RouteHeader, envoy.BoundHeader, "x-envoy-upstream-stream-duration-ms"} {
				delete(p.set, routing)
			}
			if diff := cmp.Diff(c.want, p.set); diff != "" {
				t.Errorf("headers set (-want +got):\n%s", diff)
			}
			for _, e := range b.events.all() {
				if text := cmp.Diff(nil, e); strings.Contains(text, "s3cret") || strings.Contains(text, "f1le") {
					t.Error("the event holds the secret")
				}
			}
		})
	}
}

func TestAnExchangeEndsWithTheFirstThingThatBoundsIt(t *testing.T) {
	cases := map[string]struct {
		change  func(*bench)
		request func(*bench, asked) asked
		want    string
	}{
		"the workspace's bound": {want: "600000"},
		"no bound of the workspace, but the mandate's end": {
			change: func(b *bench) { b.State.Workspace.Settings.MaxStreamSeconds = 0 }, want: "3600000",
		},
		"the destination's bound": {
			request: func(_ *bench, a asked) asked { return a.with("x-caracal-target-url", "https://api.model.test/") }, want: "120000",
		},
		"the mandate's end, with what has passed of it taken off": {
			change: func(b *bench) { b.elapsed = 10 * time.Minute; b.State.Workspace.Settings.MaxStreamSeconds = 86400 }, want: "3000000",
		},
		"the end of an ancestor that ends first": {
			change: func(b *bench) { b.State.Workspace.Settings.MaxStreamSeconds = 86400 },
			request: func(b *bench, a asked) asked {
				a.method = "GET"
				return a.with("authorization", "Bearer "+b.Token(b.Child.ID)).with("x-caracal-mandate", string(b.Delegated.ID))
			}, want: "1800000",
		},
		"the policy's obligation": {
			change: func(b *bench) {
				b.Govern("package caracal.policy\n\nobligations contains {\"max_duration_seconds\": 5}")
			}, want: "5000",
		},
		"a policy cannot lengthen it": {
			change: func(b *bench) {
				b.Govern("package caracal.policy\n\nobligations contains {\"max_duration_seconds\": 5000}")
			}, want: "600000",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			request := b.proxied()
			if c.request != nil {
				request = c.request(b, request)
			}
			if c.change != nil {
				c.change(b)
			}
			b.enforce(t)
			p := wantPermission(t, b.check(t, request.check()))
			if got := p.set["x-envoy-upstream-stream-duration-ms"]; got != c.want {
				t.Errorf("bound %s ms, want %s", got, c.want)
			}
		})
	}
}

func TestTheRouteIsTheOneOfTheJudgedDestination(t *testing.T) {
	b := newBench(t)
	open := b.Issue(b.Agent.ID, authority.Scope{Resources: []authority.ResourcePattern{"*"}, Actions: authority.Actions{authority.Execute, authority.Read, authority.Write}})
	b.enforce(t)
	plain := b.State.Destinations[2]
	cases := map[string]struct{ url, route, scheme, authority string }{
		"a public destination":                     {"https://API.Model.Test./v1", envoy.RoutePublicTLS, "https", "api.model.test"},
		"a host without destination":               {"https://elsewhere.test/v1", envoy.RoutePublicTLS, "https", "elsewhere.test"},
		"a host without destination in plain text": {"http://elsewhere.test/v1", envoy.RoutePublicPlain, "http", "elsewhere.test"},
		"a private one in plain text": {
			"http://plain.caracal.test:80/", envoy.Upstream{Host: plain.Host, Port: 80, Addresses: plain.Addresses}.Route(), "http", "plain.caracal.test",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			request := b.proxied().with("x-caracal-mandate", string(open.ID)).with("x-caracal-target-url", c.url)
			p := wantPermission(t, b.check(t, request.check()))
			got := []string{p.set[envoy.RouteHeader], p.set[":scheme"], p.set[":authority"]}
			if diff := cmp.Diff([]string{c.route, c.scheme, c.authority}, got); diff != "" {
				t.Errorf("route, scheme, authority (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoRequestIsSentBackToTheGateway(t *testing.T) {
	cases := map[string]struct {
		listener string
		refused  bool
	}{
		"the address that the destination dials": {"127.0.0.1:9443", true},
		"every address of the host":              {"0.0.0.0:9443", true},
		"every address, of both kinds":           {"[::]:9443", true},
		"another port":                           {"127.0.0.1:8443", false},
		"another address":                        {"127.0.0.2:9443", false},
	}
	for name, c := range cases {
		for _, how := range []string{"connect_to", "addresses"} {
			t.Run(name+" by "+how, func(t *testing.T) {
				b := newBench(t, func(config *extauthz.Config) {
					config.Listeners = []netip.AddrPort{netip.MustParseAddrPort(c.listener)}
				})
				if how == "addresses" {
					b.State.Destinations[0].ConnectTo = ""
				}
				b.enforce(t)
				answer := b.check(t, b.proxied().check())
				if !c.refused {
					wantPermission(t, answer)
				} else if d := wantDenial(t, answer); d.Error != "target_not_allowed" {
					t.Errorf("got %+v", d)
				}
			})
		}
	}
}

func TestAWebSocketNeedsReadingAndWriting(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	request := b.proxied(pair{"connection", "Upgrade"}, pair{"upgrade", "websocket"})
	request.method = "GET"
	wantPermission(t, b.check(t, request.check()))
}

// A Permit made anywhere else would be a way past the evaluation.
func TestOnlyFourFunctionsMakeAPermit(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var makers, granters []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if literal, ok := n.(*ast.CompositeLit); ok {
					if name, ok := literal.Type.(*ast.Ident); ok && name.Name == "Permit" && len(literal.Elts) > 0 {
						makers = append(makers, function.Name.Name)
					}
				}
				if assignment, ok := n.(*ast.AssignStmt); ok {
					for _, left := range assignment.Lhs {
						if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "granted" {
							granters = append(granters, function.Name.Name)
						}
					}
				}
				return true
			})
		}
	}
	slices.Sort(makers)
	if diff := cmp.Diff([]string{"permitForeign", "permitSelf", "permitTarget", "permitTunnel"}, makers); diff != "" || granters != nil {
		t.Errorf("functions that make a Permit (-want +got):\n%s\nand that grant one: %v", diff, granters)
	}
}
