package controlplane_test

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// mirror is a gateway that keeps what it is told, item by item.
type mirror struct {
	t     *testing.T
	feed  *controlplane.Feed
	trust bundle.Trust
	state bundle.State
	items map[string]bundle.Digest
	// wholes and changes count what it was sent.
	wholes, changes int
}

// mirrorOf is a gateway that has nothing.
func mirrorOf(t *testing.T, s *controlplane.Service, key string) *mirror {
	t.Helper()
	m := &mirror{t: t, trust: bundle.Trust{Root: must(token.ParseAPIKey(key))(t).Root}}
	m.follow(s, key)
	return m
}

// follow goes on at a replica from where the mirror is.
func (m *mirror) follow(s *controlplane.Service, key string) {
	m.t.Helper()
	if m.feed != nil {
		m.feed.Close()
	}
	caller := must(s.Authenticate(m.t.Context(), controlplane.Credential{Bearer: key}))(m.t)
	m.feed = must(s.Follow(m.t.Context(), caller, controlplane.Position{Timeline: m.trust.Timeline, Revision: m.trust.Revision, Digest: m.trust.Digest}))(m.t)
	m.t.Cleanup(m.feed.Close)
}

// reach takes steps until it has a revision.
func (m *mirror) reach(revision uint64) {
	m.t.Helper()
	for m.trust.Revision < revision {
		if _, err := m.feed.Look(m.t.Context()); err != nil {
			m.t.Fatal(err)
		}
		m.take(next(m.t, m.feed))
	}
	if m.trust.Revision != revision {
		m.t.Fatalf("the gateway is at revision %d, want %d", m.trust.Revision, revision)
	}
}

func (m *mirror) take(step *controlplane.Message) {
	m.t.Helper()
	if step.Whole != nil {
		m.wholes++
		state, keys, err := bundle.Open(read(m.t, step).Sealed, m.trust)
		if err != nil {
			m.t.Fatal(err)
		}
		m.state, m.items = bundle.State{}, itemsOf(m.t, state)
		for _, digest := range m.items {
			m.state.Add(digest)
		}
		m.trust = m.trust.Enforced(state, keys)
	} else {
		m.changes++
		delta, keys, err := bundle.OpenDelta(step.Sealed, m.trust)
		if err != nil {
			m.t.Fatal(err)
		}
		m.apply(delta)
		m.trust = m.trust.Advanced(delta, keys)
	}
	if sum := m.state.Sum(); !cmp.Equal(sum[:], m.trust.Digest) {
		m.t.Fatalf("the state at revision %d has another digest than it was told with", m.trust.Revision)
	}
	if !m.feed.Acknowledged(m.trust.Revision, m.trust.Digest) {
		m.t.Fatal("the control plane knows another digest")
	}
}

// itemsOf are the items of a state that was sent as a whole.
func itemsOf(t *testing.T, s bundle.Snapshot) map[string]bundle.Digest {
	t.Helper()
	index := must(bundle.NewIndex(bundle.Snapshot{Head: bundle.Head{Workspace: authority.Workspace{ID: s.Workspace.ID}}}))(t)
	all := map[string]bundle.Digest{}
	delta := must(index.Since(bundle.Digest{}, bundle.Edits{
		Head:       &s.Head,
		Principals: bundle.Edit[authority.Principal, authority.PrincipalID]{Set: s.Principals},
		Mandates:   bundle.Edit[authority.Mandate, authority.MandateID]{Set: s.Mandates},
		AgentKeys:  bundle.Edit[bundle.AgentKey, authority.KeyID]{Set: s.AgentKeys},
	}))(t)
	change(all, delta)
	return all
}

func (m *mirror) apply(d bundle.Delta) {
	before := maps.Clone(m.items)
	change(m.items, d)
	m.state = bundle.State{}
	for _, digest := range m.items {
		m.state.Add(digest)
	}
	if cmp.Equal(before, m.items) && len(before) > 0 {
		m.t.Logf("the change from %d to %d changes nothing", d.From, d.Revision)
	}
}

func change(items map[string]bundle.Digest, d bundle.Delta) {
	put := func(kind bundle.Kind, id string, digest bundle.Digest) {
		key := fmt.Sprintf("%s %s", kind, id)
		if items[key] = digest; digest == (bundle.Digest{}) {
			delete(items, key)
		}
	}
	for name, digest := range d.Members {
		put(bundle.KindHead, name, digest)
	}
	changeList(put, bundle.KindPrincipal, d.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID })
	changeList(put, bundle.KindMandate, d.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID })
	changeList(put, bundle.KindAgentKey, d.AgentKeys, func(k bundle.AgentKey) authority.KeyID { return k.ID })
}

func changeList[T any, ID ~string](put func(bundle.Kind, string, bundle.Digest), kind bundle.Kind, c bundle.Changes[T, ID], id func(T) ID) {
	for _, item := range c.Set {
		put(kind, string(id(item.Value)), item.Digest)
	}
	for _, gone := range c.Removed {
		put(kind, string(gone), bundle.Digest{})
	}
}

// Whatever happens to a workspace, and whichever replica a gateway follows, what it has by changes is what it would be
// sent as a whole.
func TestTheStateByChangesIsTheState(t *testing.T) {
	if os.Getenv("CARACAL_DEEP") == "" {
		checks := flag.Lookup("rapid.checks")
		before := checks.Value.String()
		t.Cleanup(func() { _ = checks.Value.Set(before) })
		if err := checks.Value.Set("25"); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	clock := &atomic.Int64{}
	at := func(skew time.Duration) *controlplane.Service {
		return serviceAt(t, w.appURL, func() time.Time { return time.Now().Add(time.Duration(clock.Load()) + skew) })
	}
	replicas := []*controlplane.Service{at(0), at(-3 * time.Second)}
	fresh := at(0)
	workspaces := 0
	rapid.Check(t, func(r *rapid.T) {
		workspaces++
		clock.Store(0)
		h := newHistory(w, fmt.Sprintf("history-%d", workspaces), replicas, clock)
		defer h.end()
		for range rapid.IntRange(3, 15).Draw(r, "operations") {
			h.step(r)
		}
		h.check(fresh)
	})
}

// history is a workspace to which things happen, at two replicas, while gateways follow.
type history struct {
	*world
	slug     string
	replicas []*controlplane.Service
	clock    *atomic.Int64 // of the replicas: how much time has passed, in nanoseconds
	key      string
	mirrors  []*mirror
	agents   []authority.Principal
	mandates []authority.Mandate
	keys     []authority.KeyID
	others   []authority.DestinationID
	number   int
}

func newHistory(w *world, slug string, replicas []*controlplane.Service, clock *atomic.Int64) *history {
	h := &history{slug: slug, replicas: replicas, clock: clock}
	own := *w
	h.world = &own
	_, h.owner = w.workspace(slug)
	h.key = must(w.CreateKey(w.t.Context(), h.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(w.t).Value.APIKey
	for _, s := range replicas {
		h.mirrors = append(h.mirrors, mirrorOf(w.t, s, h.key))
	}
	agent, _ := h.agent(h.owner, "first", authority.Agent)
	h.policy(h.owner, agent, 3)
	h.agents = append(h.agents, agent)
	return h
}

func (h *history) end() {
	for _, m := range h.mirrors {
		m.feed.Close()
	}
}

// check compares what the gateways have by changes with what a new one is sent.
func (h *history) check(fresh *controlplane.Service) {
	h.t.Helper()
	sent := mirrorOf(h.t, fresh, h.key)
	defer sent.feed.Close()
	revision := must(fresh.Revision(h.t.Context(), h.owner))(h.t)
	sent.reach(revision)
	if sent.changes != 0 {
		h.t.Error("a gateway that has nothing is sent changes")
	}
	for _, m := range h.mirrors {
		m.reach(revision)
		if diff := cmp.Diff(sent.items, m.items); diff != "" {
			h.t.Errorf("by changes it is another state (-whole +changes):\n%s", diff)
		}
	}
}

// step lets one thing happen.
func (h *history) step(r *rapid.T) {
	s := rapid.SampledFrom(h.replicas).Draw(r, "replica")
	things := h.things(s)
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(things))).Draw(r, "what")
	things[name](r)
	if rapid.Bool().Draw(r, "looks") {
		m := rapid.SampledFrom(h.mirrors).Draw(r, "gateway")
		m.reach(must(s.Revision(h.t.Context(), h.owner))(h.t))
	}
}

// things are what can happen, by name.
func (h *history) things(s *controlplane.Service) map[string]func(*rapid.T) {
	ctx, t := h.t.Context(), h.t
	all := map[string]func(*rapid.T){
		"an agent is registered": func(r *rapid.T) {
			h.number++
			n := controlplane.NewPrincipal{Name: fmt.Sprintf("agent %d", h.number), Type: rapid.SampledFrom([]authority.PrincipalType{authority.Agent, authority.Service}).Draw(r, "type")}
			p := must(s.RegisterPrincipal(ctx, h.owner, n))(t).Value
			h.policy(h.owner, p.Principal, 3)
			h.agents = append(h.agents, p.Principal)
		},
		"an agent is renamed": func(r *rapid.T) {
			name := rapid.StringMatching("[a-z]{3}").Draw(r, "name")
			must(s.UpdatePrincipal(ctx, h.owner, h.anAgent(r).ID, controlplane.PrincipalChange{Name: &name}))(t)
		},
		"an agent is suspended": func(r *rapid.T) { must(s.SuspendPrincipal(ctx, h.owner, h.anAgent(r).ID, 0))(t) },
		"an agent is resumed":   func(r *rapid.T) { must(s.ResumePrincipal(ctx, h.owner, h.anAgent(r).ID))(t) },
		"a key is made": func(r *rapid.T) {
			h.number++
			n := controlplane.NewKey{Kind: authority.KeyAgent, Name: fmt.Sprintf("key %d", h.number), PrincipalID: h.agents[0].ID}
			if rapid.Bool().Draw(r, "ends") {
				end := time.Now().Add(time.Duration(h.clock.Load()) + 6*time.Hour)
				n.ExpiresAt = &end
			}
			h.keys = append(h.keys, must(s.CreateKey(ctx, h.owner, n))(t).Value.ID)
		},
		"a mandate is issued": func(r *rapid.T) {
			m, err := s.RequestMandate(ctx, h.owner, request(h.owner.Principal().ID, h.anAgent(r).ID))
			if err == nil {
				h.mandates = append(h.mandates, m.Value)
			}
		},
		"time passes": func(r *rapid.T) {
			h.clock.Add(int64(rapid.SampledFrom([]time.Duration{time.Minute, 2 * time.Hour, 11 * time.Hour, 25 * time.Hour}).Draw(r, "for")))
		},
		"a destination is made": func(*rapid.T) {
			h.number++
			d := authority.Destination{Name: fmt.Sprintf("d%d", h.number), Host: fmt.Sprintf("d%d.example.com", h.number)}
			h.others = append(h.others, must(s.CreateDestination(ctx, h.owner, d))(t).Value.ID)
		},
		"a setting is changed": func(r *rapid.T) {
			seconds := rapid.Int64Range(1, 60).Draw(r, "seconds")
			must(s.UpdateWorkspace(ctx, h.owner, h.slug, controlplane.WorkspaceChange{Settings: &controlplane.SettingsChange{MaxStreamSeconds: &seconds}}))(t)
		},
		"signing keys are rotated": func(*rapid.T) { must(s.RotateSigningKeys(ctx, h.owner, controlplane.KeyRotation{}))(t) },
		"the workspace is deleted and restored": func(*rapid.T) {
			must(s.DeleteWorkspace(ctx, h.owner, h.slug, 0))(t)
			must(s.RestoreWorkspace(ctx, h.owner, h.slug))(t)
		},
		"a gateway goes over to the other replica": func(r *rapid.T) {
			rapid.SampledFrom(h.mirrors).Draw(r, "gateway").follow(s, h.key)
		},
		"a member is added": func(*rapid.T) {
			h.number++
			must(s.AddMember(ctx, h.owner, controlplane.NewMember{Name: fmt.Sprintf("member %d", h.number), Role: authority.RoleViewer}))(t)
		},
	}
	if len(h.mandates) > 0 {
		all["a mandate is delegated"] = func(r *rapid.T) {
			parent := h.aMandate(r)
			child, err := s.DelegateMandate(ctx, h.owner, controlplane.Delegation{
				ParentMandateID: parent.ID, ChildPrincipalID: h.anAgent(r).ID, ResourceScope: []string{"api:external/*"}, ActionScope: []string{"read"}, ValiditySeconds: 60,
			})
			if err == nil {
				h.mandates = append(h.mandates, child.Value)
			}
		}
		all["a mandate is revoked"] = func(r *rapid.T) { must(s.RevokeMandate(ctx, h.owner, h.aMandate(r).ID, 0))(t) }
		all["an agent's mandates are revoked"] = func(r *rapid.T) {
			must(s.RevokeMandates(ctx, h.owner, controlplane.RevocationFilter{SubjectID: h.anAgent(r).ID}, 0))(t)
		}
	}
	if len(h.keys) > 0 {
		all["a key is revoked"] = func(r *rapid.T) { must(s.RevokeKey(ctx, h.owner, rapid.SampledFrom(h.keys).Draw(r, "key")))(t) }
	}
	if len(h.others) > 0 {
		all["a destination is deleted"] = func(*rapid.T) {
			must(s.DeleteDestination(ctx, h.owner, h.others[0]))(t)
			h.others = h.others[1:]
		}
	}
	return all
}

func (h *history) anAgent(r *rapid.T) authority.Principal {
	return rapid.SampledFrom(h.agents).Draw(r, "agent")
}

func (h *history) aMandate(r *rapid.T) authority.Mandate {
	return rapid.SampledFrom(h.mandates).Draw(r, "mandate")
}

// However many gateways come at once, as after a restart of the control plane, the state is read and sealed once for all
// of them, and what changes meanwhile is told by changes.
func TestGatewaysThatComeTogetherAreSentOneSnapshot(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	w.mandate(w.owner, agent)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
	var log lines
	s := serviceWith(t, w.appURL, slog.New(slog.NewTextHandler(&log, nil)))
	caller := must(s.Authenticate(t.Context(), controlplane.Credential{Bearer: key}))(t)

	var feeds []*controlplane.Feed
	for range 1000 {
		feed := must(s.Follow(t.Context(), caller, controlplane.Position{}))(t)
		defer feed.Close()
		feeds = append(feeds, feed)
	}
	for _, feed := range feeds[:500] {
		read(t, next(t, feed))
	}
	changed := must(s.RequestMandate(t.Context(), w.owner, request(w.owner.Principal().ID, agent.ID)))(t).Revision
	for n, feed := range feeds {
		if n >= 500 {
			read(t, next(t, feed))
		}
		for feed.Given() < changed {
			if m := next(t, feed); m.Whole != nil {
				t.Fatalf("a gateway is sent a snapshot for a change")
			}
		}
	}
	if n := strings.Count(log.String(), "snapshot sealed"); n != 1 {
		t.Errorf("%d snapshots for 1000 gateways that come at once:\n%s", n, log.String())
	}
}

// Who comes long after a snapshot was sealed is sent the present one, and not that one with all that has happened since.
func TestAGatewayThatComesLateIsNotSentEverythingSince(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 2)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
	caller := must(w.Authenticate(t.Context(), controlplane.Credential{Bearer: key}))(t)
	first := must(w.Follow(t.Context(), caller, controlplane.Position{}))(t)
	defer first.Close()
	read(t, next(t, first))
	var revision uint64
	for sent := 0; sent < 80<<10; {
		revision = must(w.RequestMandate(t.Context(), w.owner, request(w.owner.Principal().ID, agent.ID)))(t).Revision
		for first.Given() < revision {
			sent += len(next(t, first).Sealed)
		}
	}
	late := must(w.Follow(t.Context(), caller, controlplane.Position{}))(t)
	defer late.Close()
	if m := next(t, late); m.Whole == nil || m.Revision != revision {
		t.Errorf("at revision %d, who comes late is sent %+v", revision, m)
	}
}

// A gateway that takes nothing holds up no other, and is sent what it can go on from when it does.
func TestAGatewayThatIsSlowHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
	quick, slow := mirrorOf(t, w.Service, key), mirrorOf(t, w.Service, key)
	revision := must(w.Revision(t.Context(), w.owner))(t)
	quick.reach(revision)
	slow.reach(revision)
	for n := range 30 {
		name := fmt.Sprintf("name %d", n)
		revision = must(w.UpdatePrincipal(t.Context(), w.owner, agent.ID, controlplane.PrincipalChange{Name: &name}))(t).Revision
		quick.reach(revision)
		if n == 20 {
			w.ForgetSteps()
		}
	}
	slow.reach(revision)
	if slow.wholes != 1 || slow.changes == 0 {
		t.Errorf("the slow gateway is sent %d snapshots and %d changes", slow.wholes, slow.changes)
	}
	if diff := cmp.Diff(quick.items, slow.items); diff != "" {
		t.Errorf("the slow gateway has another state:\n%s", diff)
	}
}

// A mandate that ended is told for a day, as of the clock of whoever changes something next; clocks differ.
func TestWhatEndsWithTheTimeIsToldByTheNextChange(t *testing.T) {
	w := newWorld(t)
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 0)
	ends := w.mandate(w.owner, agent)
	revoked := w.mandate(w.owner, agent)
	must(w.RevokeMandate(t.Context(), w.owner, revoked.ID, 0))(t)
	end := time.Now().Add(2 * time.Hour)
	agentKey := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: agent.ID, ExpiresAt: &end}))(t).Value.ID
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
	m := mirrorOf(t, w.Service, key)
	m.reach(must(w.Revision(t.Context(), w.owner))(t))
	ahead := serviceAt(t, w.appURL, func() time.Time { return time.Now().Add(26 * time.Hour) })
	told := func() int {
		n := 0
		for _, name := range []string{"mandates " + string(ends.ID), "mandates " + string(revoked.ID), "agent_keys " + string(agentKey)} {
			if _, ok := m.items[name]; ok {
				n++
			}
		}
		return n
	}
	for n, s := range []*controlplane.Service{w.Service, ahead, w.Service, ahead} {
		name := fmt.Sprintf("name %d", n)
		m.reach(must(s.UpdatePrincipal(t.Context(), w.owner, agent.ID, controlplane.PrincipalChange{Name: &name}))(t).Revision)
		if want := map[bool]int{true: 0, false: 3}[s == ahead]; told() != want {
			t.Errorf("after change %d the gateway has %d of what ends, want %d", n, told(), want)
		}
		sent := mirrorOf(t, newService(t, w.appURL), key)
		sent.reach(m.trust.Revision)
		if diff := cmp.Diff(sent.items, m.items); diff != "" {
			t.Errorf("after change %d it is another state (-whole +changes):\n%s", n, diff)
		}
	}
	if m.wholes != 1 {
		t.Errorf("the gateway was sent %d snapshots", m.wholes)
	}
}

// What a gateway says of where it is may be wrong: that what changed since is told from there does not make it true.
func TestAPositionThatIsOnlyClaimedIsNotTheStates(t *testing.T) {
	w := newWorld(t)
	key := must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "gateway"}))(t).Value.APIKey
	m := mirrorOf(t, w.Service, key)
	m.reach(must(w.Revision(t.Context(), w.owner))(t))
	sound := controlplane.Position{Timeline: m.trust.Timeline, Revision: m.trust.Revision, Digest: m.trust.Digest}
	wrong := sound
	wrong.Digest = bytes.Repeat([]byte{1}, len(sound.Digest))
	w.agent(w.owner, "a", authority.Agent)
	m.reach(must(w.Revision(t.Context(), w.owner))(t))

	feed := must(w.Follow(t.Context(), w.as(key), wrong))(t)
	defer feed.Close()
	if step := next(t, feed); step.From != wrong.Revision {
		t.Fatalf("it is sent a step from %d", step.From)
	}
	if feed.Continues(wrong) || !feed.Continues(sound) {
		t.Errorf("the claimed position is continued: %t; the one that was: %t", feed.Continues(wrong), feed.Continues(sound))
	}
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serviceWith is a replica with a log of its own.
func serviceWith(t testing.TB, appURL string, log *slog.Logger) *controlplane.Service {
	t.Helper()
	store := need(postgres.Open(postgres.Config{URL: appURL, MaxConns: 4}))(t)
	t.Cleanup(store.Close)
	return need(controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey, Log: log, Now: time.Now,
	}))(t)
}
