package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/token"
)

// kidOf is the key that signed a JWS, as the control plane names it.
func kidOf(t *testing.T, jws string) authority.SigningKeyID {
	t.Helper()
	text := must(base64.RawURLEncoding.DecodeString(strings.SplitN(jws, ".", 2)[0]))(t)
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		t.Fatal(err)
	}
	return authority.SigningKeyID("sgk_" + header.KeyID)
}

// load sends requests through a gateway without a pause, each with a token and a mandate of its own moment, and keeps what
// went wrong.
type load struct {
	*edge
	client *http.Client
	stop   chan struct{}
	wait   sync.WaitGroup

	mu     sync.Mutex
	kids   map[authority.SigningKeyID]int // keys that signed the tokens and mandates that passed
	failed []string
}

func (e *edge) underLoad(workers int) *load {
	l := &load{
		edge: e, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}},
		stop: make(chan struct{}), kids: map[authority.SigningKeyID]int{},
	}
	for range workers {
		l.wait.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.once()
				}
			}
		})
	}
	return l
}

// once takes an agent's whole way: a token, a mandate and a request, all through the gateway.
func (l *load) once() {
	exchanged, err := attempt(l.client, l.agentKey, http.MethodPost, l.base+"/api/v1/token", nil, nil)
	if !l.well("token", exchanged, err, http.StatusOK) {
		return
	}
	jws := exchanged.member("access_token")
	issued, err := attempt(l.client, jws, http.MethodPost, l.base+"/api/v1/mandates", l.terms(600, "execute"), nil)
	if !l.well("mandate", issued, err, http.StatusCreated) {
		return
	}
	request := l.request(http.MethodPost, issued.member("mandate_id"), upstreamHost, "/v1")
	request.Header.Set("Authorization", "Bearer "+jws)
	proxied, err := send(l.client, request)
	if !l.well("request", proxied, err, http.StatusOK) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, signed := range []string{jws, issued.member("signature")} {
		l.kids[kidOf(l.t, signed)]++
	}
}

func (l *load) well(what string, got answer, err error, status int) bool {
	if err == nil && got.status == status {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, fmt.Sprintf("%s: %d %s (%v)", what, got.status, got.body, err))
	return false
}

// seen is how often keys signed what passed.
func (l *load) seen(id authority.SigningKeyID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kids[id]
}

func (l *load) end() []string {
	close(l.stop)
	l.wait.Wait()
	return l.failed
}

// keyOf is the key of a purpose that does something.
func (s *stack) keyOf(purpose token.Purpose, state controlplane.SigningKeyState) authority.SigningKeyID {
	s.t.Helper()
	for _, k := range must(s.SigningKeys(s.t.Context(), s.owner))(s.t) {
		if k.Purpose == purpose && k.State == state {
			return k.ID
		}
	}
	return ""
}

// enough is how many requests pass under a key before it is taken for working.
const enough = 20

func TestSigningKeysChangeAndNoRequestFails(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	before := e.issue(600, "execute")
	first := s.keyOf(token.PurposeToken, controlplane.SigningKeySigning)
	l := e.underLoad(4)
	lead := int64(2)
	for range 2 {
		old := s.keyOf(token.PurposeToken, controlplane.SigningKeySigning)
		eventually(t, "requests pass under the present key", func() bool { return l.seen(old) >= enough })
		must(s.RotateSigningKeys(t.Context(), s.owner, controlplane.KeyRotation{LeadSeconds: &lead}))(t)
		eventually(t, "the new keys sign", func() bool { return s.keyOf(token.PurposeToken, controlplane.SigningKeyPublished) == "" })
		for _, purpose := range []token.Purpose{token.PurposeToken, token.PurposeMandate} {
			next := s.keyOf(purpose, controlplane.SigningKeySigning)
			eventually(t, "requests pass under the new keys", func() bool { return l.seen(next) >= enough })
		}
	}
	for _, failure := range l.end() {
		t.Error(failure)
	}
	// What was signed before still holds, and so does it in a gateway that starts from its disk.
	if kidOf(t, e.jwt) != first {
		t.Fatal("the agent's token is not of the first key")
	}
	if got := e.proxy(before, "/v1"); got.status != http.StatusOK {
		t.Errorf("a token and a mandate of the first keys are answered %d %s", got.status, got.body)
	}
	if err := e.running.stop(); err != nil {
		t.Fatal(err)
	}
	e.start()
	eventually(t, "the gateway serves from its disk", func() bool {
		got, err := send(e.client(), e.request(http.MethodPost, before, upstreamHost, "/v1"))
		return err == nil && got.status == http.StatusOK
	})
	if strings.Contains(e.gatewayLog.String(), "the kept bundle is not used") {
		t.Error("the bundle on the disk was not used")
	}
}

func TestARevokedSigningKeyEndsWhatItSignedAtTheGateway(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	old := e.issue(600, "execute")
	if got := e.proxy(old, "/v1"); got.status != http.StatusOK {
		t.Fatalf("before: %d %s", got.status, got.body)
	}
	must(s.RevokeSigningKey(t.Context(), s.owner, s.keyOf(token.PurposeMandate, controlplane.SigningKeySigning)))(t)
	fresh := e.issue(600, "execute") // is answered once the gateway enforces it, and so all before
	wantDenied(t, e.proxy(old, "/v1"), http.StatusForbidden, authority.ReasonChainInvalid)
	if got := e.proxy(fresh, "/v1"); got.status != http.StatusOK {
		t.Errorf("a mandate of the new key is answered %d %s", got.status, got.body)
	}
	stale := e.jwt
	must(s.RevokeSigningKey(t.Context(), s.owner, s.keyOf(token.PurposeToken, controlplane.SigningKeySigning)))(t)
	e.issue(600, "execute")
	wantDenied(t, e.proxy(fresh, "/v1"), http.StatusUnauthorized, authority.ReasonAuthFailed)
	e.jwt = e.self(e.agentKey, http.MethodPost, "/api/v1/token", nil).member("access_token")
	if kidOf(t, e.jwt) == kidOf(t, stale) {
		t.Error("the revoked key still signs")
	}
	if got := e.proxy(fresh, "/v1"); got.status != http.StatusOK {
		t.Errorf("a token of the new key is answered %d %s", got.status, got.body)
	}
	must(s.RevokeSigningKey(t.Context(), s.owner, s.keyOf(token.PurposeBundle, controlplane.SigningKeySigning)))(t)
	if got := e.proxy(e.issue(600, "execute"), "/v1"); got.status != http.StatusOK {
		t.Errorf("under a bundle of the new key: %d %s", got.status, got.body)
	}
}
