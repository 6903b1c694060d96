package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestARepeatedWriteHasOneEffect(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	digest := []byte("digest of the request")
	ask := controlplane.NewPrincipal{Name: "once", Type: authority.Agent}
	first := must(w.RegisterPrincipal(ctx, w.owner.Once("k1", digest), ask))(t)
	again := must(w.RegisterPrincipal(ctx, w.owner.Once("k1", digest), ask))(t)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the repeated call answers something else:\n%s", diff)
	}
	wantError(t, drop(w.RegisterPrincipal(ctx, w.owner.Once("k1", []byte("another")), ask)), authority.CodeConflict, "")
	wantError(t, drop(w.CreateKey(ctx, w.owner.Once("k1", digest), controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"})), authority.CodeConflict, "")
	wantError(t, drop(w.RegisterPrincipal(ctx, w.owner.Once(strings.Repeat("k", 256), digest), ask)), authority.CodeInvalid, "")

	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := w.RegisterPrincipal(ctx, w.owner.Once("k2", digest), controlplane.NewPrincipal{Name: "race", Type: authority.Service}); err != nil {
				t.Errorf("a concurrent repetition: %v", err)
			}
		})
	}
	all.Wait()
	names := map[string]int{}
	for _, p := range must(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, controlplane.Page{}))(t).Items {
		names[p.Name]++
	}
	if names["once"] != 1 || names["race"] != 1 {
		t.Errorf("principals %v", names)
	}

	setup := w.as(setupKey)
	create := controlplane.NewWorkspace{Name: "Second", Slug: "second"}
	made := must(w.CreateWorkspace(ctx, setup.Once("w1", digest), create))(t)
	if diff := cmp.Diff(made, must(w.CreateWorkspace(ctx, setup.Once("w1", digest), create))(t)); diff != "" {
		t.Errorf("the repeated creation answers something else:\n%s", diff)
	}
	wantError(t, drop(w.CreateWorkspace(ctx, setup, create)), authority.CodeConflict, "")
	wantError(t, drop(w.CreateWorkspace(ctx, setup.Once("w2", digest), create)), authority.CodeConflict, "")
	if all := must(w.Workspaces(ctx, setup))(t); len(all) != 2 {
		t.Errorf("%d workspaces", len(all))
	}
}

// TestRevisionsAndSequencesAreInTheOrderOfCommits lets two replicas write at once: the numbers have no gap, and a
// reader that sees one sees all before it.
func TestRevisionsAndSequencesAreInTheOrderOfCommits(t *testing.T) {
	w := newWorld(t)
	second := newService(t, w.appURL)
	before := must(w.Revision(t.Context(), w.owner))(t)
	const each = 15
	revisions := make(chan uint64, 4*each)
	var all sync.WaitGroup
	for i := range 4 {
		replica := []*controlplane.Service{w.Service, second}[i%2]
		all.Go(func() {
			for n := range each {
				written, err := replica.RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: fmt.Sprintf("p%d-%d", i, n), Type: authority.User})
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				revisions <- written.Revision
				// Some fail on the way: they take no number.
				_, _ = replica.RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: "", Type: authority.User})
			}
		})
	}
	all.Wait()
	close(revisions)
	var got []uint64
	for r := range revisions {
		got = append(got, r)
	}
	slices.Sort(got)
	for i, r := range got {
		if r != before+1+uint64(i) {
			t.Fatalf("revision %d follows %d: %v", r, before+uint64(i), got)
		}
	}
	var events []authority.Event
	page := controlplane.Page{Limit: controlplane.MaxPage}
	for {
		list := must(w.Events(t.Context(), w.owner, controlplane.EventFilter{}, page))(t)
		events = append(events, list.Items...)
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	slices.SortFunc(events, func(a, b authority.Event) int { return int(a.Sequence - b.Sequence) })
	for i, e := range events {
		if e.Sequence != int64(i+1) {
			t.Fatalf("event %d has sequence %d", i+1, e.Sequence)
		}
		if i > 0 && e.Revision < events[i-1].Revision {
			t.Errorf("event %d is of revision %d, the one before of %d", e.Sequence, e.Revision, events[i-1].Revision)
		}
	}
}

func TestPagesCoverAListOnceAndCursorsCannotBeMade(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	_, other := w.workspace("other")
	for i := range 7 {
		must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: fmt.Sprintf("u%d", i), Type: authority.User}))(t)
	}
	var names []string
	page := controlplane.Page{Limit: 3}
	for {
		list := must(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, page))(t)
		for _, p := range list.Items {
			names = append(names, p.Name)
		}
		if list.NextCursor == "" {
			break
		}
		page.Cursor = list.NextCursor
	}
	if want := []string{"u6", "u5", "u4", "u3", "u2", "u1", "u0", "owner"}; !slices.Equal(names, want) {
		t.Errorf("pages %v, want %v", names, want)
	}
	for name, cursor := range map[string]string{
		"SQL": "' OR 1=1 --", "another alphabet": "////", "cut": page.Cursor[:len(page.Cursor)-2],
		"changed": page.Cursor[:30] + "A" + page.Cursor[31:], "long": strings.Repeat("A", 4096),
	} {
		t.Log(name)
		wantError(t, drop(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, controlplane.Page{Cursor: cursor})), authority.CodeInvalid, "")
	}
	wantError(t, drop(w.Policies(ctx, w.owner, controlplane.PolicyFilter{}, page)), authority.CodeInvalid, "")
	wantError(t, drop(w.Principals(ctx, other, controlplane.PrincipalFilter{}, page)), authority.CodeInvalid, "")
	for _, limit := range []int{-1, 201} {
		wantError(t, drop(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{}, controlplane.Page{Limit: limit})), authority.CodeInvalid, "")
	}
	for _, text := range []string{"' OR '1'='1", "%", "\\", "$1"} {
		if all := must(w.Principals(ctx, w.owner, controlplane.PrincipalFilter{Type: authority.PrincipalType(text)}, controlplane.Page{}))(t); len(all.Items) != 0 {
			t.Errorf("the filter %q finds %d principals", text, len(all.Items))
		}
	}
}

func TestAnotherReplicasChangesWakeASubscriber(t *testing.T) {
	w := newWorld(t)
	second := newService(t, w.appURL)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	wake, cancel := second.Subscribe(w.owner)
	defer cancel()
	seen := uint64(0)
	must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.User}))(t)
	want := must(w.Revision(ctx, w.owner))(t)
	for seen < want {
		select {
		case <-wake:
			seen = must(second.Revision(ctx, w.owner))(t)
		case <-time.After(10 * time.Second):
			t.Fatalf("not woken for revision %d", want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestWithoutADatabaseEverythingIsUnavailable(t *testing.T) {
	w := newWorld(t)
	away := must(url.Parse(w.appURL))(t)
	away.Host = "127.0.0.1:1"
	lost := newService(t, away.String())
	for name, err := range map[string]error{
		"ping":         lost.Ping(t.Context()),
		"authenticate": drop(lost.Authenticate(t.Context(), controlplane.Credential{Bearer: must(w.CreateKey(t.Context(), w.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "g"}))(t).Value.APIKey})),
		"read":         drop(lost.Revision(t.Context(), w.owner)),
		"write":        drop(lost.RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.User})),
		"list":         drop(lost.Workspaces(t.Context(), must(lost.Authenticate(t.Context(), controlplane.Credential{Bearer: setupKey}))(t))),
	} {
		t.Log(name)
		wantError(t, err, authority.CodeUnavailable, "")
	}
	// A server that takes connections and says nothing holds nobody for long either.
	silent := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer silent.Close()
	away.Host = silent.Addr().String()
	wantError(t, newService(t, away.String()).Ping(t.Context()), authority.CodeUnavailable, "")
}

// TestItRecoversByItselfWhenConnectionsBreak ends every session of the database, which is what a restart of the server
// looks like from here.
func TestItRecoversByItselfWhenConnectionsBreak(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		must(w.Revision(t.Context(), w.owner))(t)
		w.count("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		eventually(t, "a write goes through", func() bool {
			_, err := w.RegisterPrincipal(t.Context(), w.owner, controlplane.NewPrincipal{Name: "x", Type: authority.User})
			if err != nil {
				wantError(t, err, authority.CodeUnavailable, "")
			}
			return err == nil
		})
	}
}

func TestRefusalsOfARegoPushNameThePlace(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		modules map[string]string
		code    string
	}{
		"a syntax error":        {map[string]string{"p.rego": "package caracal.policy\n\ndeny contains {"}, "parse_error"},
		"a forbidden built-in":  {map[string]string{"p.rego": "package caracal.policy\n\ndeny contains {\"code\": \"x\", \"message\": \"m\"} if http.send({})"}, "builtin_not_allowed"},
		"a test that fails":     {map[string]string{"p.rego": "package caracal.policy\n", "p_test.rego": "package caracal.policy_test\n\ntest_no if 1 == 2"}, "test_failed"},
		"a package of our own":  {map[string]string{"p.rego": "package caracal.base\n\nallow := true"}, "package_not_allowed"},
		"a path out of the set": {map[string]string{"../p.rego": "package caracal.policy\n"}, "path_not_allowed"},
	}
	for name, c := range cases {
		_, err := w.PushRego(t.Context(), w.owner, controlplane.RegoPush{Modules: c.modules})
		var invalid *controlplane.InvalidRego
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantError(t, err, authority.CodeInvalid, "")
		if !slices.ContainsFunc(invalid.Problems, func(p controlplane.RegoProblem) bool { return string(p.Code) == c.code }) {
			t.Errorf("%s: problems %v, want one of %s", name, invalid.Problems, c.code)
		}
	}
	if all := must(w.RegoVersions(t.Context(), w.owner, controlplane.RegoFilter{}, controlplane.Page{}))(t); len(all.Items) != 0 {
		t.Errorf("%d versions are stored", len(all.Items))
	}
}

func TestTheCatalogIsJudgedAsAWhole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	one := authority.Destination{Name: "one", Host: "one.example.com", Rules: []authority.Rule{{Path: "/a/{b}", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:one/{b}"}}}
	made := must(w.CreateDestination(ctx, w.owner, one))(t).Value
	if made.ID == "" || made.Rules[0].ID == "" || len(made.Ports) != 1 || made.TLS != authority.TLSRequired {
		t.Errorf("destination %+v", made)
	}
	same := one
	wantError(t, drop(w.CreateDestination(ctx, w.owner, same)), authority.CodeConflict, "")
	same.Name = "two"
	wantError(t, drop(w.CreateDestination(ctx, w.owner, same)), authority.CodeInvalid, "")
	metadata := authority.Destination{Name: "metadata", Host: "metadata.example.com"}
	metadata.ConnectTo = "169.254.169.254:80"
	wantError(t, drop(w.CreateDestination(ctx, w.owner, metadata)), authority.CodeInvalid, "")
	if made.Tunnel != authority.TunnelInspect || made.BasePath != "" || made.ClientCertificate != "" {
		t.Errorf("what was left out is %+v", made)
	}
	made.BasePath, made.Tunnel, made.ClientCertificate = "one", authority.TunnelRefuse, "ours"
	must(w.UpdateDestination(ctx, w.owner, made.ID, made))(t)
	var taken *authority.Error
	if err := drop(w.CreateDestination(ctx, w.owner, authority.Destination{Name: "two", Host: "two.example.com", BasePath: "one"})); !errors.As(err, &taken) ||
		taken.Code != authority.CodeInvalid || taken.Field != "base_path" || !strings.Contains(taken.Message, `"one"`) {
		t.Errorf("a second destination of a base path is answered %v", err)
	}
	made.Rules = append(made.Rules, authority.Rule{Path: "/c", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:one"})
	changed := must(w.UpdateDestination(ctx, w.owner, made.ID, made))(t)
	if changed.Value.Rules[0].ID != made.Rules[0].ID || changed.Value.Rules[1].ID == "" {
		t.Errorf("rules %+v", changed.Value.Rules)
	}
	unchanged := must(w.UpdateDestination(ctx, w.owner, made.ID, changed.Value))(t)
	if now := must(w.Revision(ctx, w.owner))(t); now != changed.Revision || unchanged.Revision != now {
		t.Errorf("an update that changes nothing answers revision %d and moved it from %d to %d", unchanged.Revision, changed.Revision, now)
	}
	ready := must(w.Destinations(ctx, w.owner, controlplane.DestinationFilter{}, controlplane.Page{Limit: 200}))(t)
	if len(ready.Items) <= len(catalog.Initial()) {
		t.Errorf("%d destinations, with the ready ones", len(ready.Items))
	}
}
