package extauthz_test

import (
	"encoding/base64"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
)

// reversed is a request of a client of which nothing but the base URL and the key were changed.
func (b *bench) reversed(path string, headers ...pair) asked {
	return asked{mode: envoy.ModeGateway, method: "POST", path: path, host: "localhost:8443", headers: append([]pair{{"user-agent", "OpenAI/Python"}}, headers...)}
}

func TestAClientWhoseBaseURLWasChangedIsGoverned(t *testing.T) {
	w := newTower(t)
	key := w.Key(w.Agent.ID)
	child := w.Token(w.Child.ID)
	for i := range w.State.Destinations {
		if d := &w.State.Destinations[i]; d.Name == "model" {
			d.BasePath = "model"
		}
	}
	w.enforce(t)
	agent := w.Token(w.Agent.ID)
	const path = "/r/model/v1/chat?x=1"
	for name, c := range map[string]struct {
		path    string
		method  string
		headers []pair
		source  string
		secure  bool
		reason  authority.Reason // empty where the request passes
		removed []string
	}{
		"a token as a bearer":              {headers: []pair{{"authorization", "Bearer " + agent}}, removed: []string{"authorization"}},
		"a token as the key":               {headers: []pair{{"x-api-key", agent}}},
		"a token as Google's key":          {headers: []pair{{"x-goog-api-key", agent}}, removed: []string{"x-goog-api-key"}},
		"a token as a password":            {headers: []pair{{"authorization", basic("api", agent)}}, removed: []string{"authorization"}},
		"a token as a user":                {headers: []pair{{"authorization", basic(agent, "x")}}, removed: []string{"authorization"}},
		"a key from this host":             {headers: []pair{{"authorization", "Bearer " + key.Reveal()}}, source: "127.0.0.1", removed: []string{"authorization"}},
		"a key over TLS":                   {headers: []pair{{"x-api-key", key.Reveal()}}, secure: true},
		"a key over plain text":            {headers: []pair{{"x-api-key", key.Reveal()}}, reason: authority.ReasonAuthFailed},
		"one token in two places":          {headers: []pair{{"x-api-key", agent}, {"authorization", "Bearer " + agent}}, removed: []string{"authorization"}},
		"two tokens in two places":         {headers: []pair{{"x-api-key", agent}, {"authorization", "Bearer " + child}}, reason: authority.ReasonAmbiguousHeader},
		"two tokens in one place":          {headers: []pair{{"x-api-key", agent}, {"x-api-key", child}}, reason: authority.ReasonAmbiguousHeader},
		"two tokens in Basic":              {headers: []pair{{"authorization", basic(agent, child)}}, reason: authority.ReasonAmbiguousHeader},
		"a token beside an upstream's key": {headers: []pair{{"x-api-key", agent}, {"authorization", "Bearer sk-abc"}}},
		"an upstream's key alone":          {headers: []pair{{"authorization", "Bearer sk-abc"}}, reason: authority.ReasonAuthRequired},
		"nothing":                          {reason: authority.ReasonAuthRequired},
		"a token that does not hold":       {headers: []pair{{"x-api-key", agent[:len(agent)-4] + "AAAA"}}, reason: authority.ReasonAuthFailed},
		"proxy credentials":                {headers: []pair{{"proxy-authorization", basic("-", agent)}}, reason: authority.ReasonAuthRequired},
		"a mandate that is named":          {headers: []pair{{"x-api-key", agent}, {"x-caracal-mandate", string(w.Mandate.ID)}}, removed: []string{"x-caracal-mandate"}},
		"another's mandate":                {headers: []pair{{"x-api-key", agent}, {"x-caracal-mandate", string(w.Delegated.ID)}}, reason: authority.ReasonSubjectMismatch},
		"a caller without a mandate":       {headers: []pair{{"x-api-key", child}}, reason: authority.ReasonNoMandateApplies},
		"an unknown base path":             {path: "/r/other/v1", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonUnknownEndpoint},
		"no base path":                     {path: "/r/", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonUnknownEndpoint},
		"an escaped base path":             {path: "/r/%6dodel/v1", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonUnknownEndpoint},
		"a base path in capitals":          {path: "/r/Model/v1", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonUnknownEndpoint},
		"an empty segment":                 {path: "/r//model/v1", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonUnknownEndpoint},
		"a detour":                         {path: "/r/model/../other", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonInvalidTarget},
		"two slashes behind it":            {path: "/r/model//v1", headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonInvalidTarget},
		"a token in the path":              {path: "/r/model/" + agent, headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonInvalidTarget},
		"a token in the query":             {path: "/r/model/x?key=" + agent, headers: []pair{{"x-api-key", agent}}, reason: authority.ReasonInvalidTarget},
		"a target that is named too":       {headers: []pair{{"x-api-key", agent}, {"x-caracal-target-url", "https://echo.caracal.test:9443/"}}, removed: []string{"x-caracal-target-url"}},
		"a token for the upstream":         {headers: []pair{{"x-api-key", agent}, {"x-caracal-upstream-authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+agent))}}, reason: authority.ReasonMalformedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			request := w.reversed(path, c.headers...)
			request.source, request.secure = c.source, c.secure
			if c.path != "" {
				request.path = c.path
			}
			if c.reason != "" {
				if d := w.denial(t, request); d.Error != string(c.reason) || d.Status != c.reason.Status() {
					t.Errorf("got %d %s (%s), want %s", d.Status, d.Error, d.Message, c.reason)
				}
				return
			}
			p := w.permission(t, request)
			if p.set[":authority"] != "api.model.test" || p.set[":path"] != "/v1/chat?x=1" || p.set["x-api-key"] != "key s3cret" {
				t.Errorf("headers set: %v", p.set)
			}
			for _, name := range c.removed {
				if !p.remove[name] {
					t.Errorf("%s goes on: %v", name, p.remove)
				}
			}
			if w.events.last(t).Request.Mode != "reverse" {
				t.Errorf("event %+v", w.events.last(t))
			}
		})
	}
}

// A base path is served by the gateway port, over TLS where that has it.
func TestABasePathIsServedOnlyByTheGatewayPort(t *testing.T) {
	b := newBench(t)
	b.State.Destinations[1].BasePath = "model"
	b.enforce(t)
	request := b.reversed("/r/model/v1", pair{"x-api-key", b.Token(b.Agent.ID)})
	for mode, reason := range map[string]authority.Reason{
		envoy.ModePlain: authority.ReasonTLSRequired, envoy.ModeInside: authority.ReasonTunnelUnknown, envoy.ModeForward: authority.ReasonAuthRequired,
	} {
		request.mode = mode
		if d := wantDenial(t, b.check(t, request.check())); d.Error != string(reason) {
			t.Errorf("%s: got %s, want %s", mode, d.Error, reason)
		}
	}
}
