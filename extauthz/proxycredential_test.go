package extauthz_test

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
)

// bound makes a token that is good for presenting one mandate only.
func (b *bench) boundToken(subject authority.PrincipalID, mandate authority.MandateID) string {
	access := b.access(subject, 15*time.Minute)
	access.Mandate = mandate
	return b.SignToken(b.TokenKey, access)
}

func TestAProxyAsksWhoAsks(t *testing.T) {
	w := newTower(t)
	key := w.Key(w.Agent.ID)
	elsewhere := w.Key(w.Agent.ID)
	w.State.AgentKeys[len(w.State.AgentKeys)-1].AllowedNetworks = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	w.enforce(t)
	agent := w.Token(w.Agent.ID)
	raw := func(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

	for name, c := range map[string]struct {
		value  string // of Proxy-Authorization; "none" leaves it out
		source string
		secure bool
		reason authority.Reason // empty where the request passes
		says   string           // in the message
	}{
		"a token as the password":                     {value: basic("-", agent)},
		"a token as the password beside its mandate":  {value: basic(string(w.Mandate.ID), agent)},
		"a token as a bearer":                         {value: "Bearer " + agent},
		"a scheme in another letter case":             {value: "bAsIc " + raw("-:"+agent)},
		"a key from this host":                        {value: basic("-", key.Reveal()), source: "127.0.0.1"},
		"a key from this host by IPv6":                {value: basic("-", key.Reveal()), source: "::1"},
		"a key from this host by mapped IPv4":         {value: basic("-", key.Reveal()), source: "::ffff:127.0.0.1"},
		"a key over TLS from elsewhere":               {value: basic("-", key.Reveal()), secure: true},
		"a key as a bearer from this host":            {value: "Bearer " + key.Reveal(), source: "127.0.0.1"},
		"a key over plain text from elsewhere":        {value: basic("-", key.Reveal()), reason: authority.ReasonAuthFailed, says: "plain text"},
		"a key over plain text from who knows where":  {value: basic("-", key.Reveal()), source: "pipe", reason: authority.ReasonAuthFailed, says: "plain text"},
		"a key from a network that it is not for":     {value: basic("-", elsewhere.Reveal()), secure: true, reason: authority.ReasonAuthFailed},
		"a key with another secret":                   {value: basic("-", key.Reveal()[:len(key.Reveal())-52]+elsewhere.Reveal()[len(key.Reveal())-52:]), secure: true, reason: authority.ReasonAuthFailed},
		"nothing":                                     {value: "none", reason: authority.ReasonAuthRequired, says: "Proxy-Authorization: Basic"},
		"an empty header":                             {value: "", reason: authority.ReasonAuthRequired},
		"a scheme alone":                              {value: "Basic", reason: authority.ReasonAuthFailed},
		"another scheme":                              {value: "Digest " + raw("-:"+agent), reason: authority.ReasonAuthFailed},
		"a token without a scheme":                    {value: agent, reason: authority.ReasonAuthFailed},
		"a password alone":                            {value: "Basic " + raw(agent), reason: authority.ReasonAuthFailed},
		"no user":                                     {value: basic("", agent), reason: authority.ReasonAuthFailed},
		"no password":                                 {value: basic("-", ""), reason: authority.ReasonAuthFailed},
		"a token where the user belongs":              {value: basic(agent, "x"), reason: authority.ReasonAuthFailed},
		"what is not base64":                          {value: "Basic -:" + agent, reason: authority.ReasonAuthFailed},
		"base64 of the other alphabet":                {value: "Basic " + base64.URLEncoding.EncodeToString([]byte("-:\xfb\xff"+agent)), reason: authority.ReasonAuthFailed},
		"base64 without its end":                      {value: "Basic " + strings.TrimRight(raw("-:"+agent+"1"), "="), reason: authority.ReasonAuthFailed},
		"base64 with bits behind its end":             {value: "Basic " + loose(string(w.Mandate.ID), agent), reason: authority.ReasonAuthFailed},
		"two credentials in one header":               {value: basic("-", agent) + ", " + basic("-", agent), reason: authority.ReasonAuthFailed},
		"a NUL in the password":                       {value: basic("-", agent+"\x00"), reason: authority.ReasonAuthFailed},
		"a line break in the user":                    {value: basic("-\r\nx", agent), reason: authority.ReasonAuthFailed},
		"a token of nobody":                           {value: basic("-", w.Token(authority.NewID[authority.PrincipalID]())), reason: authority.ReasonAuthFailed},
		"a token that is over":                        {value: basic("-", w.SignToken(w.TokenKey, w.access(w.Agent.ID, -time.Second))), reason: authority.ReasonAuthFailed},
		"a mandate of somebody else":                  {value: basic(string(w.Delegated.ID), agent), reason: authority.ReasonSubjectMismatch},
		"a mandate that nobody knows":                 {value: basic(string(authority.NewID[authority.MandateID]()), agent), reason: authority.ReasonMandateNotFound},
		"a user that is no mandate":                   {value: basic("agent", agent), reason: authority.ReasonMandateNotFound},
		"a token that is bound to the mandate":        {value: basic("-", w.boundToken(w.Agent.ID, w.Mandate.ID))},
		"a token that is bound, and its mandate":      {value: basic(string(w.Mandate.ID), w.boundToken(w.Agent.ID, w.Mandate.ID))},
		"a token that is bound to another's mandate":  {value: basic("-", w.boundToken(w.Agent.ID, w.Delegated.ID)), reason: authority.ReasonSubjectMismatch},
		"a token that is bound, and another mandate":  {value: basic(string(w.Mandate.ID), w.boundToken(w.Agent.ID, w.Delegated.ID)), reason: authority.ReasonTokenBound},
		"a token that is bound to an unknown mandate": {value: basic("-", w.boundToken(w.Agent.ID, authority.NewID[authority.MandateID]())), reason: authority.ReasonMandateNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			for _, request := range []asked{w.forwarded("GET", "https://echo.caracal.test:9443/x"), w.connecting("echo.caracal.test:9443")} {
				request.source, request.secure = c.source, c.secure
				if request = request.without("proxy-authorization"); c.value != "none" {
					request = request.plus("proxy-authorization", c.value)
				}
				if c.reason == "" {
					w.permission(t, request)
					continue
				}
				d := wantDenial(t, w.check(t, request.check()))
				status := c.reason.Status()
				if status == 401 {
					status = 407
				}
				if d.Error != string(c.reason) || d.Status != status || !strings.Contains(d.Message, c.says) {
					t.Errorf("%s: %d %s (%s), want %d %s", request.method, d.Status, d.Error, d.Message, status, c.reason)
				}
			}
		})
	}
}

// loose is a Basic credential with bits behind the end of what it encodes, which some decoders let pass.
func loose(mandate, secret string) string {
	encoded := base64.StdEncoding.EncodeToString([]byte("-:" + secret))
	if !strings.HasSuffix(encoded, "=") {
		encoded = base64.StdEncoding.EncodeToString([]byte(mandate + ":" + secret))
	}
	text, padding, _ := strings.Cut(encoded, "=")
	last := len(text) - 1
	return text[:last] + string(text[last]+1) + "=" + padding
}

func TestAProxysChallengeNamesBothSchemes(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	var told []string
	for _, h := range b.check(t, b.connecting("echo.caracal.test:9443").without("proxy-authorization").check()).GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "proxy-authenticate" {
			told = append(told, h.GetHeader().GetValue()+" "+h.GetAppendAction().String())
		}
	}
	want := []string{`Basic realm="caracal" OVERWRITE_IF_EXISTS_OR_ADD`, `Bearer realm="caracal" APPEND_IF_EXISTS_OR_ADD`}
	if strings.Join(told, ";") != strings.Join(want, ";") {
		t.Errorf("got %q, want %q", told, want)
	}
}

func TestProxyCredentialsAreShownOnce(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	for _, request := range []asked{b.forwarded("GET", "https://echo.caracal.test:9443/x"), b.connecting("echo.caracal.test:9443")} {
		value := request.headers[1].value
		if d := wantDenial(t, b.check(t, request.plus("proxy-authorization", value).check())); d.Error != string(authority.ReasonAmbiguousHeader) {
			t.Errorf("got %s", d.Error)
		}
	}
}

// What identified a caller at the proxy does not reach an upstream in any place, nor does a key that stands where an
// upstream's own belongs.
func TestNoProxyCredentialReachesAnUpstream(t *testing.T) {
	w := newTower(t)
	key := w.Key(w.Child.ID).Reveal()
	w.enforce(t)
	agent := w.Token(w.Agent.ID)
	encoded := base64.StdEncoding.EncodeToString([]byte("-:" + agent))
	for name, header := range map[string]pair{
		"the token":                    {"x-title", "a " + agent},
		"the header's value":           {"cookie", "a=" + encoded},
		"a key of ours":                {"x-api-key", key},
		"a key of ours within Basic":   {"x-other", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+key))},
		"another proxy's credential":   {"proxy-authenticate", "x"},
		"a header of the gateway's":    {"x-caracal-anything", "x"},
		"what the connection was kept": {"proxy-connection", "keep-alive"},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.permission(t, w.forwarded("GET", "https://echo.caracal.test:9443/x", header))
			if !p.remove[header.name] || !p.remove["proxy-authorization"] {
				t.Errorf("removed: %v", p.remove)
			}
		})
	}
	for name, c := range map[string]struct {
		request asked
		reason  authority.Reason
	}{
		"in the path":          {w.forwarded("GET", "https://echo.caracal.test:9443/"+agent), authority.ReasonInvalidTarget},
		"in the query":         {w.forwarded("GET", "https://echo.caracal.test:9443/?a="+encoded), authority.ReasonInvalidTarget},
		"in Authorization":     {w.forwarded("GET", "https://echo.caracal.test:9443/", pair{"authorization", "Bearer " + agent}), authority.ReasonMalformedHeader},
		"a key, in Basic":      {w.forwarded("GET", "https://echo.caracal.test:9443/", pair{"authorization", basic("-", key)}), authority.ReasonMalformedHeader},
		"for the upstream":     {w.forwarded("GET", "https://echo.caracal.test:9443/", pair{"x-caracal-upstream-authorization", "Bearer " + agent}), authority.ReasonMalformedHeader},
		"in a tunnel's target": {w.connecting(key + ":443"), authority.ReasonInvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			if d := wantDenial(t, w.check(t, c.request.check())); d.Error != string(c.reason) {
				t.Errorf("got %s (%s), want %s", d.Error, d.Message, c.reason)
			}
		})
	}
}

// A key that is taken away ends what it opened.
func TestATunnelEndsWithTheKeyThatOpenedIt(t *testing.T) {
	w := newTower(t)
	key := w.Key(w.Agent.ID)
	l := follow(t, w.World)
	w.service.Enforce(l.snapshot, extauthz.Change{All: true})
	request := w.connecting("echo.caracal.test:9443").with("proxy-authorization", basic("-", key.Reveal()))
	request.source = "127.0.0.1"
	decision, line := w.tunnel(t, request)
	other := w.live(t, w.connecting("echo.caracal.test:9443"))
	inner := w.live(t, inside(decision, "GET", "echo.caracal.test:9443", "/x"))
	before := w.State
	w.State.AgentKeys = nil
	change := l.advance(t, l.all(before))
	if change.All {
		t.Fatal("the change says nothing of what it is about")
	}
	if cut := w.service.Enforce(l.snapshot, change); cut != 2 {
		t.Errorf("%d streams were cut, want 2", cut)
	}
	line.wantEnd(t, authority.ReasonAuthFailed)
	inner.wantEnd(t, authority.ReasonAuthFailed)
	other.wantAlive(t)
}
