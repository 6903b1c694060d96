package controlplane_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const day = 24 * time.Hour

// later is a replica whose clock is ahead, which is how these tests let time pass.
func (w *world) later(by time.Duration) *world {
	w.t.Helper()
	ahead := *w
	ahead.Service = serviceAt(w.t, w.appURL, func() time.Time { return time.Now().Add(by) })
	return &ahead
}

// run lets the replica do what it does by itself until something holds.
func (w *world) runUntil(what string, holds func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	eventually(w.t, what, holds)
	cancel()
	if err := <-ended; err != nil {
		w.t.Error(err)
	}
}

// states counts the keys of each purpose by what they do.
func (w *world) states() map[string]int {
	w.t.Helper()
	counts := map[string]int{}
	for _, k := range must(w.SigningKeys(w.t.Context(), w.owner))(w.t) {
		counts[string(k.Purpose)+" "+string(k.State)]++
	}
	return counts
}

func (w *world) wantStates(want map[string]int) {
	w.t.Helper()
	got := w.states()
	for state, n := range want {
		if got[state] != n {
			w.t.Errorf("the keys are %v, want %v", got, want)
			return
		}
	}
	if len(got) != len(want) {
		w.t.Errorf("the keys are %v, want %v", got, want)
	}
}

// rotate asks for new keys that sign after so many seconds.
func (w *world) rotate(seconds int64) uint64 {
	w.t.Helper()
	return must(w.RotateSigningKeys(w.t.Context(), w.owner, controlplane.KeyRotation{LeadSeconds: &seconds}))(w.t).Revision
}

// signer is the id of the key that signed a JWS.
func signer(t *testing.T, jws string) authority.SigningKeyID {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.SplitN(jws, ".", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		t.Fatal(err)
	}
	return authority.SigningKeyID("sgk_" + header.KeyID)
}

// keyOf is the key of a purpose that does something.
func (w *world) keyOf(purpose token.Purpose, state controlplane.SigningKeyState) authority.SigningKeyID {
	w.t.Helper()
	all := must(w.SigningKeys(w.t.Context(), w.owner))(w.t)
	i := slices.IndexFunc(all, func(k controlplane.SigningKey) bool { return k.Purpose == purpose && k.State == state })
	if i < 0 {
		w.t.Fatalf("no %s key is %s: %+v", purpose, state, all)
	}
	return all[i].ID
}

// gatewayKey makes one, and answers what a gateway trusts by it.
func (w *world) gatewayKey() (controlplane.Caller, bundle.Trust) {
	w.t.Helper()
	made := must(w.CreateKey(w.t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge"}))(w.t).Value
	return w.as(made.APIKey), bundle.Trust{Root: must(token.ParseAPIKey(made.APIKey))(w.t).Root}
}

// enforce opens the newest bundle as a gateway does, and answers its keys and what is trusted then.
func (w *world) enforce(gateway controlplane.Caller, trust bundle.Trust) (token.KeySet, bundle.Trust) {
	w.t.Helper()
	b := whole(w.t, w.Service, gateway)
	state, keys, err := bundle.Open(b.Sealed, trust)
	if err != nil {
		w.t.Fatal(err)
	}
	return keys, trust.Enforced(state, keys)
}

func TestNewKeysAreKnownBeforeTheySign(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	gateway, trust := w.gatewayKey()
	before, trust := w.enforce(gateway, trust)
	old := must(w.IssueToken(t.Context(), asAgent))(t).AccessToken
	mandate := w.mandate(w.owner, agent)

	revision := w.rotate(60)
	published, trust := w.enforce(gateway, trust)
	if trust.Revision != revision || published.Version <= before.Version || len(published.Keys) != 8 {
		t.Errorf("the bundle is of revision %d with key set %d of %d keys, want revision %d and a newer set of 8", trust.Revision, published.Version, len(published.Keys), revision)
	}
	w.wantStates(map[string]int{
		"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token published": 1, "mandate published": 1, "bundle published": 1, "receipt published": 1,
	})
	meanwhile := must(w.IssueToken(t.Context(), asAgent))(t).AccessToken
	if signer(t, meanwhile) != signer(t, old) {
		t.Error("a key signs before its time")
	}

	then := w.later(2 * time.Minute)
	then.wantStates(map[string]int{
		"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token retired": 1, "mandate retired": 1, "bundle retired": 1, "receipt retired": 1,
	})
	next := must(then.IssueToken(t.Context(), asAgent))(t).AccessToken
	if signer(t, next) == signer(t, old) {
		t.Error("the old key still signs after its time")
	}
	if got := signer(t, then.mandate(w.owner, agent).Signature); got == signer(t, mandate.Signature) {
		t.Error("the old key still signs mandates")
	}
	// What a gateway has known since the keys were published verifies all of it, new and old.
	for sentence, jws := range map[string]string{"a token of the old key": meanwhile, "a token of the new key": next} {
		if _, err := published.VerifyAccess(jws, time.Now().Add(2*time.Minute)); err != nil {
			t.Errorf("%s: %v", sentence, err)
		}
	}
	if err := published.VerifyMandate(mandate); err != nil {
		t.Errorf("a mandate of the old key: %v", err)
	}
	if _, err := then.enforceAfter(gateway, trust); err != nil {
		t.Errorf("a bundle of the new key: %v", err)
	}
	// A token of the old key's last moment holds for all of its time.
	last := w.later(45 * time.Second)
	jws := must(last.IssueToken(t.Context(), asAgent))(t).AccessToken
	if signer(t, jws) != signer(t, old) {
		t.Fatal("the last moment is not the old key's")
	}
	if _, err := published.VerifyAccess(jws, time.Now().Add(45*time.Second+14*time.Minute+50*time.Second)); err != nil {
		t.Errorf("the last token of the old key ends early: %v", err)
	}
}

func (w *world) enforceAfter(gateway controlplane.Caller, trust bundle.Trust) (token.KeySet, error) {
	b := whole(w.t, w.Service, gateway)
	_, keys, err := bundle.Open(b.Sealed, trust)
	return keys, err
}

func TestARotationThatIsAskedForTwiceIsOne(t *testing.T) {
	w := newWorld(t)
	others := []*controlplane.Service{w.Service, newService(t, w.appURL), newService(t, w.appURL)}
	var (
		wait      sync.WaitGroup
		revisions = make([]uint64, 9)
		seconds   = int64(600)
	)
	for i := range revisions {
		wait.Go(func() {
			written, err := others[i%len(others)].RotateSigningKeys(t.Context(), w.owner, controlplane.KeyRotation{LeadSeconds: &seconds})
			if err != nil {
				t.Error(err)
			}
			revisions[i] = written.Revision
		})
	}
	wait.Wait()
	slices.Sort(revisions)
	if len(slices.Compact(revisions)) != 1 {
		t.Errorf("the calls are answered with several revisions: %v", revisions)
	}
	w.wantStates(map[string]int{
		"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token published": 1, "mandate published": 1, "bundle published": 1, "receipt published": 1,
	})
	for sentence, lead := range map[string]int64{"no time": 0, "more than a month": 30*86400 + 1} {
		if _, err := w.RotateSigningKeys(t.Context(), w.owner, controlplane.KeyRotation{LeadSeconds: &lead}); err == nil {
			t.Errorf("%s ahead is accepted", sentence)
		}
	}
}

func TestReplicasReplaceAgedKeysOnce(t *testing.T) {
	w := newWorld(t)
	app := must(pgx.Connect(t.Context(), w.appURL))(t)
	t.Cleanup(func() { _ = app.Close(context.Background()) })
	if _, err := app.Exec(t.Context(), "SELECT ensure_event_partition(now() + interval '89 days 1 hour')"); err != nil {
		t.Fatal(err) // the events of then have a place before anybody looks
	}
	fresh := w.later(88 * day)
	fresh.runUntil("the replica has looked", func() bool { return len(fresh.states()) > 0 })
	w.wantStates(map[string]int{"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1})

	aged, twin := w.later(89*day+time.Hour), w.later(89*day+time.Hour)
	replaced := func() bool { return aged.states()["bundle published"] == 1 }
	var wait sync.WaitGroup
	wait.Go(func() { twin.runUntil("the keys have successors", replaced) })
	aged.runUntil("the keys have successors", replaced)
	wait.Wait()
	aged.wantStates(map[string]int{
		"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token published": 1, "mandate published": 1, "bundle published": 1, "receipt published": 1,
	})
	events := must(w.Events(t.Context(), w.owner, controlplane.EventFilter{Type: authority.EventSigningKeysRotated}, controlplane.Page{}))(t).Items
	if len(events) != 1 || events[0].ActorID != "" || events[0].Detail["before"] == nil || events[0].Detail["after"] == nil {
		t.Errorf("the ledger tells %+v", events)
	}
}

func TestKeysThatCannotSignAnyMoreAreReplacedAtOnce(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	app := must(pgx.Connect(t.Context(), w.appURL))(t)
	t.Cleanup(func() { _ = app.Close(context.Background()) })
	if _, err := app.Exec(t.Context(), "SELECT set_config('caracal.workspace', $1, false)", agent.WorkspaceID); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Exec(t.Context(), "UPDATE signing_keys SET retire_at = now() WHERE purpose <> 'root'"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.IssueToken(t.Context(), asAgent); err == nil {
		t.Fatal("the keys still sign: the test shows nothing")
	}
	w.runUntil("there are keys that sign", func() bool {
		_, err := w.IssueToken(t.Context(), asAgent)
		return err == nil
	})
	for sentence, statement := range map[string]string{
		"gains time":     "UPDATE signing_keys SET retire_at = retire_at + interval '1 hour' WHERE purpose = 'token'",
		"is deleted":     "DELETE FROM signing_keys",
		"begins earlier": "UPDATE signing_keys SET not_before = not_before - interval '1 hour'",
	} {
		if _, err := app.Exec(t.Context(), statement); err == nil {
			t.Errorf("in the database a key %s", sentence)
		}
	}
}

func TestAKeyStaysWhileSomethingThatItSignedIsInForce(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	long := request(w.owner.Principal().ID, agent.ID)
	long.ValiditySeconds = 86400
	mandate := must(w.RequestMandate(t.Context(), w.owner, long))(t).Value
	gateway, trust := w.gatewayKey()
	w.rotate(1)
	for _, c := range []struct {
		after time.Duration
		want  map[string]int
	}{
		{12 * time.Hour, map[string]int{"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token retired": 1, "mandate retired": 1, "bundle retired": 1, "receipt retired": 1}},
		{30 * time.Hour, map[string]int{"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token retired": 1, "mandate retired": 1, "bundle withdrawn": 1, "receipt withdrawn": 1}},
		{50 * time.Hour, map[string]int{"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token withdrawn": 1, "mandate withdrawn": 1, "bundle withdrawn": 1, "receipt withdrawn": 1}},
	} {
		then := w.later(c.after)
		var keys token.KeySet
		keys, trust = then.enforce(gateway, trust)
		then.runUntil("the keys are as they should be", func() bool {
			for state, n := range c.want {
				if then.states()[state] != n {
					return false
				}
			}
			return true
		})
		version := keys.Version
		if keys, trust = then.enforce(gateway, trust); keys.Version < version {
			t.Errorf("after %s the key set is %d, older than %d", c.after, keys.Version, version)
		}
		if err := keys.VerifyMandate(mandate); (err == nil) != (c.want["mandate retired"] == 1) {
			t.Errorf("after %s a mandate of the old key: %v", c.after, err)
		}
	}
}

func TestARevokedKeyTakesWhatItSignedWithIt(t *testing.T) {
	w := newWorld(t)
	agent, asAgent := w.agent(w.owner, "a", authority.Agent)
	helper, _ := w.agent(w.owner, "b", authority.Agent)
	w.policy(w.owner, agent, 2)
	w.policy(w.owner, helper, 2)
	gateway, trust := w.gatewayKey()
	before, trust := w.enforce(gateway, trust)
	jws := must(w.IssueToken(t.Context(), asAgent))(t).AccessToken
	mandate := w.mandate(w.owner, agent)
	question := controlplane.Validation{MandateID: mandate.ID, RequestedAction: "read", RequestedResource: "api:external/x"}
	if answer := must(w.ValidateMandate(t.Context(), asAgent, question))(t); !answer.Allowed {
		t.Fatalf("before: %+v", answer)
	}
	for _, purpose := range []token.Purpose{token.PurposeToken, token.PurposeMandate, token.PurposeBundle} {
		id := w.keyOf(purpose, controlplane.SigningKeySigning)
		key := must(w.RevokeSigningKey(t.Context(), w.owner, id))(t).Value
		if key.State != controlplane.SigningKeyRevoked || key.RevokedAt == nil {
			t.Errorf("the key is %+v", key)
		}
		if again := must(w.RevokeSigningKey(t.Context(), w.owner, id))(t).Value; again.RevokedAt == nil || !again.RevokedAt.Equal(*key.RevokedAt) {
			t.Errorf("revoked again it is %+v", again)
		}
	}
	after, _ := w.enforce(gateway, trust)
	if after.Version <= before.Version || len(after.Keys) != 4 {
		t.Errorf("the key set is %d of %d keys, want a newer one of 4", after.Version, len(after.Keys))
	}
	if _, err := after.VerifyAccess(jws, time.Now()); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("a gateway takes the token: %v", err)
	}
	if err := after.VerifyMandate(mandate); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("a gateway takes the mandate: %v", err)
	}
	_, err := w.Authenticate(t.Context(), controlplane.Credential{Bearer: jws})
	wantError(t, err, authority.CodeUnauthenticated, "")
	answer := must(w.ValidateMandate(t.Context(), asAgent, question))(t)
	if answer.Allowed || *answer.DenialReason != authority.ReasonChainInvalid {
		t.Errorf("the control plane answers %+v", answer)
	}
	_, err = w.DelegateMandate(t.Context(), asAgent, controlplane.Delegation{
		ParentMandateID: mandate.ID, ChildPrincipalID: helper.ID, ResourceScope: []string{"api:external/x"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
	})
	wantError(t, err, authority.CodeRefused, authority.ReasonChainInvalid)
	if _, err := after.VerifyAccess(must(w.IssueToken(t.Context(), asAgent))(t).AccessToken, time.Now()); err != nil {
		t.Errorf("a token of the new key: %v", err)
	}
	if err := after.VerifyMandate(w.mandate(w.owner, agent)); err != nil {
		t.Errorf("a mandate of the new key: %v", err)
	}
}

func TestARevokedKeyThatWasToSignHasASuccessorInTime(t *testing.T) {
	w := newWorld(t)
	_, asAgent := w.agent(w.owner, "a", authority.Agent)
	w.rotate(3600)
	must(w.RevokeSigningKey(t.Context(), w.owner, w.keyOf(token.PurposeToken, controlplane.SigningKeyPublished)))(t)
	w.wantStates(map[string]int{
		"token signing": 1, "mandate signing": 1, "bundle signing": 1, "receipt signing": 1, "token published": 1, "mandate published": 1, "bundle published": 1, "receipt published": 1, "token revoked": 1,
	})
	for _, after := range []time.Duration{59 * time.Minute, 61 * time.Minute, 80 * time.Minute} {
		if _, err := w.later(after).IssueToken(t.Context(), asAgent); err != nil {
			t.Errorf("after %s nothing signs: %v", after, err)
		}
	}
	_, err := w.RevokeSigningKey(t.Context(), w.owner, "sgk_aaaaaaaaaaaaaaaa")
	wantError(t, err, authority.CodeNotFound, "")
}

func TestAnotherMasterKeyIsNoticedAtTheStart(t *testing.T) {
	w := newWorld(t)
	replica := func(masterKey string) *controlplane.Service {
		store := must(postgres.Open(postgres.Config{URL: w.appURL, MaxConns: 4}))(t)
		t.Cleanup(store.Close)
		return must(controlplane.New(controlplane.Config{
			Store: store, MasterKey: []byte(strings.Repeat(masterKey, 32)), SetupKey: setupKey,
			Log: slog.New(slog.DiscardHandler), Now: time.Now,
		}))(t)
	}
	if err := replica("x").Run(t.Context()); !errors.Is(err, controlplane.ErrMasterKey) {
		t.Errorf("with another master key it ends with %v, want %v", err, controlplane.ErrMasterKey)
	}
	right := *w
	right.Service = replica("m")
	right.runUntil("the right one works", func() bool { return len(right.states()) == 4 })
}
