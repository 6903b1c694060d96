package extauthz_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/internal/pki"
	"github.com/caracal-gateway/caracal/internal/world"
)

const foreign = "foreign"

// foreigner is a request as somebody else's Envoy sees it on its way to an upstream.
func (b *bench) foreigner(method, host, path string, headers ...pair) asked {
	return asked{
		mode: foreign, method: method, host: host, path: path,
		headers: append([]pair{
			{"user-agent", "curl/7.88.1"},
			{"x-caracal-authorization", "Bearer " + b.Token(b.Agent.ID)},
			{"x-forwarded-proto", "http"},
			{"x-envoy-internal", "true"},
		}, headers...),
	}
}

// asMap describes the headers as Envoys do that are not told to describe them raw.
func asMap(check *authv3.CheckRequest) *authv3.CheckRequest {
	http := check.GetAttributes().GetRequest().GetHttp()
	http.Headers = map[string]string{}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if before, twice := http.Headers[h.GetKey()]; twice {
			http.Headers[h.GetKey()] = before + "," + string(h.GetRawValue())
		} else {
			http.Headers[h.GetKey()] = string(h.GetRawValue())
		}
	}
	http.HeaderMap = nil
	return check
}

// saying adds what the Envoy's configuration says.
func saying(check *authv3.CheckRequest, key, value string) *authv3.CheckRequest {
	check.GetAttributes().GetContextExtensions()[key] = value
	return check
}

func TestSomebodyElsesEnvoyIsToldWhetherARequestMayGoOn(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	b.routes = func(string) bool { return false } // what the gateway's own Envoy has is of no interest
	request := b.foreigner("POST", "Echo.Caracal.Test:9443", "/v1/x?q=v", pair{"authorization", "Bearer sk-upstream"}, pair{"x-caracal-mandate", string(b.Mandate.ID)}, pair{"proxy-authorization", "x"})
	for form, check := range map[string]*authv3.CheckRequest{"raw headers": request.check(), "a map": asMap(request.check())} {
		t.Run("with "+form, func(t *testing.T) {
			answer := b.check(t, check)
			p := wantPermission(t, answer)
			if diff := cmp.Diff(map[string]string{"x-envoy-upstream-stream-duration-ms": "600000"}, p.set); diff != "" {
				t.Errorf("headers set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]bool{"x-caracal-authorization": true, "x-caracal-mandate": true, "proxy-authorization": true}, p.remove); diff != "" {
				t.Errorf("headers removed (-want +got):\n%s", diff)
			}
			event := b.events.last(t)
			if event.MandateID != b.Mandate.ID || event.Request.Mode != foreign || event.Request.Port != 9443 || event.Request.Scheme != "https" {
				t.Errorf("event %+v", event)
			}
			told := answer.GetOkResponse().GetResponseHeadersToAdd()
			if len(told) != 1 || told[0].GetHeader().GetKey() != "x-caracal-decision-id" || told[0].GetHeader().GetValue() != string(event.DecisionID) {
				t.Errorf("the client is told %v", told)
			}
		})
	}
	if figures := b.service.Figures(); figures.LiveWatches != 0 {
		t.Errorf("%d requests are watched that nobody will watch", figures.LiveWatches)
	}
}

func TestWhatSomebodyElsesEnvoyMayNotCarryIsDenied(t *testing.T) {
	const host = "echo.caracal.test:9443"
	for sentence, c := range map[string]struct {
		change func(*bench)
		check  func(*bench) *authv3.CheckRequest
		want   string // empty: it is permitted
	}{
		"a mandate is selected where none is named": {nil, func(b *bench) *authv3.CheckRequest { return b.foreigner("POST", host, "/").check() }, ""},
		"the Authorization header identifies where nothing else does": {
			nil, func(b *bench) *authv3.CheckRequest {
				return b.foreigner("POST", host, "/").without("x-caracal-authorization").with("authorization", "Bearer "+b.Token(b.Agent.ID)).check()
			}, "",
		},
		"plain text, as its configuration says": {
			nil, func(b *bench) *authv3.CheckRequest {
				return saying(b.foreigner("POST", world.PlainHost, "/").check(), "caracal-scheme", "http")
			}, "",
		},
		"plain text, as the request says": {
			nil, func(b *bench) *authv3.CheckRequest {
				request := b.foreigner("POST", world.PlainHost, "/")
				request.scheme = "http"
				return request.check()
			}, "target_not_allowed",
		},
		"a scheme that is none": {
			nil, func(b *bench) *authv3.CheckRequest {
				return saying(b.foreigner("POST", host, "/").check(), "caracal-scheme", "ftp")
			}, "malformed_request",
		},
		"nobody": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", host, "/").without("x-caracal-authorization").check()
		}, "authentication_required"},
		"an API key": {nil, func(b *bench) *authv3.CheckRequest {
			key := b.Key(b.Agent.ID)
			b.enforce(t)
			return b.foreigner("POST", host, "/").with("x-caracal-authorization", "Bearer "+key.Reveal()).check()
		}, "authentication_failed"},
		"a credential that does not hold beside one that would": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", host, "/").with("x-caracal-authorization", "Bearer x").with("authorization", "Bearer "+b.Token(b.Agent.ID)).check()
		}, "authentication_failed"},
		"another credential of ours for the upstream": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", host, "/", pair{"authorization", "Bearer " + b.Token(b.Child.ID)}).check()
		}, "malformed_header"},
		"two mandates, in a map": {nil, func(b *bench) *authv3.CheckRequest {
			return asMap(b.foreigner("POST", host, "/").plus("x-caracal-mandate", string(b.Mandate.ID)).plus("x-caracal-mandate", string(b.Mandate.ID)).check())
		}, "ambiguous_mandate"},
		"two credentials, in a map": {nil, func(b *bench) *authv3.CheckRequest {
			return asMap(b.foreigner("POST", host, "/").plus("x-caracal-authorization", "Bearer x").check())
		}, "authentication_failed"},
		"two hosts, in a map": {nil, func(b *bench) *authv3.CheckRequest {
			return asMap(b.foreigner("POST", host+",b.test", "/").check())
		}, "ambiguous_header"},
		"no headers": {nil, func(b *bench) *authv3.CheckRequest {
			check := b.foreigner("POST", host, "/").check()
			check.GetAttributes().GetRequest().GetHttp().HeaderMap = nil
			return check
		}, "malformed_request"},
		"headers in both forms": {nil, func(b *bench) *authv3.CheckRequest {
			check := b.foreigner("POST", host, "/").check()
			raw := check.GetAttributes().GetRequest().GetHttp().GetHeaderMap()
			check = asMap(check)
			check.GetAttributes().GetRequest().GetHttp().HeaderMap = raw
			return check
		}, "malformed_request"},
		"a tunnel": {nil, func(b *bench) *authv3.CheckRequest {
			request := b.foreigner("CONNECT", host, "")
			return request.check()
		}, "target_not_allowed"},
		"an address": {nil, func(b *bench) *authv3.CheckRequest { return b.foreigner("POST", "10.0.0.1", "/").check() }, "invalid_target_url"},
		"a host with a dot at its end": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", "echo.caracal.test.:9443", "/").check()
		}, "target_mismatch"},
		"a path that is judged in another form than it is sent": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", host, "/v1?").check()
		}, "invalid_target_url"},
		"another method after it was judged": {nil, func(b *bench) *authv3.CheckRequest {
			return b.foreigner("POST", host, "/", pair{"x-http-method-override", "DELETE"}).check()
		}, "target_mismatch"},
		"a destination with a credential of the gateway's": {
			func(b *bench) {
				b.State.Destinations[0].Credential = &authority.Credential{Name: "model", Header: "x-api-key"}
			},
			func(b *bench) *authv3.CheckRequest { return b.foreigner("POST", host, "/").check() }, "target_not_allowed",
		},
		"a destination with a client certificate of the gateway's": {
			func(b *bench) { b.State.Destinations[0].ClientCertificate = "bank" },
			func(b *bench) *authv3.CheckRequest { return b.foreigner("POST", host, "/").check() }, "target_not_allowed",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := newBench(t)
			if c.change != nil {
				c.change(b)
			}
			b.enforce(t)
			answer := b.check(t, c.check(b))
			if c.want == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != c.want {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

// serveForeign serves somebody else's Envoys over TCP until the test ends.
func (b *bench) serveForeign(t *testing.T, servers, clients *pki.CA) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	chain, key := servers.Server(t)
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(clients.PEM()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.service.ServeForeign(ctx, listener, certificate, pool) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dialForeign(t *testing.T, address string, transport credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func showing(certificates ...tls.Certificate) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{Certificates: certificates, InsecureSkipVerify: true}) // whom it asks is not what is tried
}

func TestOnlyEnvoysThatAreVouchedForMayAsk(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	servers, clients, others := pki.New(t), pki.New(t), pki.New(t)
	address := b.serveForeign(t, servers, clients)
	good := showing(clients.Client(t, pki.DNS("edge.test")))
	for sentence, c := range map[string]struct {
		shown credentials.TransportCredentials
		may   bool
	}{
		"one with a certificate of the clients' authority": {good, true},
		"one with none":                          {showing(), false},
		"one with another authority's":           {showing(others.Client(t)), false},
		"one with one of the server's authority": {showing(servers.Client(t)), false},
		"one whose certificate has expired":      {showing(clients.Client(t, pki.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)))), false},
		"one whose certificate is for servers":   {showing(clients.Client(t, pki.Usage(x509.ExtKeyUsageServerAuth))), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			answer, err := authv3.NewAuthorizationClient(dialForeign(t, address, c.shown)).Check(within(t), b.foreigner("POST", "echo.caracal.test:9443", "/").check())
			switch {
			case c.may && err != nil:
				t.Fatal(err)
			case c.may:
				wantPermission(t, answer)
				if event := b.events.last(t); event.Detail["envoy"] != "edge.test" {
					t.Errorf("the record says of the Envoy %v", event.Detail)
				}
			case status.Code(err) != codes.Unavailable:
				t.Errorf("answered %v, %v", answer, err)
			}
		})
	}
	t.Run("whatever it says of the way in", func(t *testing.T) {
		client := authv3.NewAuthorizationClient(dialForeign(t, address, good))
		ctx := metadata.AppendToOutgoingContext(within(t), envoy.ModeKey, envoy.ModeGateway)
		answer, err := client.Check(ctx, saying(b.proxied().check(), envoy.ModeKey, envoy.ModeGateway))
		if err != nil {
			t.Fatal(err)
		}
		if d := wantDenial(t, answer); b.events.last(t).Request.Mode != foreign {
			t.Errorf("got %+v, recorded as %+v", d, b.events.last(t).Request)
		}
		answer, err = client.Check(ctx, saying(saying(b.foreigner("POST", "echo.caracal.test:9443", "/").check(), envoy.ModeKey, envoy.ModeInside), "foreign-envoy", "admin"))
		if err != nil {
			t.Fatal(err)
		}
		wantPermission(t, answer)
		if event := b.events.last(t); event.Detail["envoy"] != "edge.test" {
			t.Errorf("the record says of the Envoy %v", event.Detail)
		}
	})
	t.Run("for decisions and nothing else", func(t *testing.T) {
		connection := dialForeign(t, address, good)
		watch, err := procv3.NewExternalProcessorClient(connection).Process(within(t))
		if err == nil {
			_, err = watch.Recv()
		}
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("a watch is answered %v", err)
		}
		log, err := accesslogv3.NewAccessLogServiceClient(connection).StreamAccessLogs(within(t))
		if err == nil {
			err = log.RecvMsg(new(accesslogv3.StreamAccessLogsResponse))
		}
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("an access log is answered %v", err)
		}
	})
}

func TestTheGatewaysOwnEnvoyIsNobodyElses(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	path, _ := b.serve(t)
	ctx := metadata.AppendToOutgoingContext(within(t), envoy.ModeKey, foreign)
	answer, err := authv3.NewAuthorizationClient(dial(t, path)).Check(ctx, b.foreigner("POST", "echo.caracal.test:9443", "/").check())
	if err != nil {
		t.Fatal(err)
	}
	if d := wantDenial(t, answer); d.Error != "unknown_endpoint" && !strings.Contains(d.Error, "malformed") {
		t.Errorf("got %+v", d)
	}
}
