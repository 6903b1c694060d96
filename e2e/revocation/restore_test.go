package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// The gateways of a restore: those that tell what they know, and one that is away then and knows more.
const (
	present = 2
	away    = 2
)

// restoration is a site whose database is put back, while agents go on calling under what is revoked.
type restoration struct {
	operator
	history history

	kept    authority.MandateID // nothing happens to it
	revoked authority.MandateID // after the backup, before anything is restored
	unheard authority.MandateID // at the end, and the gateways that are present do not hear of it
	late    authority.MandateID // issued after the backup
}

// TestRestore puts the database back to an earlier copy of itself, twice: under a control plane that goes on running, and as
// docs/operate.md says. What a gateway has denied because it was revoked it never permits again.
func TestRestore(t *testing.T) {
	binary := build(t, "")
	s := newSite(t, binary)
	r := &restoration{operator: operator{s, binary}}
	ctx := t.Context()
	r.kept, r.revoked, r.unheard = s.mustIssue(ctx, t), s.mustIssue(ctx, t), s.mustIssue(ctx, t)
	r.prints(t, []string{"controlplane", "accept-restore"}, "there is nothing to accept: no gateway reports anything that the database does not have\n")
	if err := s.backUp(ctx); err != nil {
		t.Fatal(err)
	}
	for replica := range replicas {
		s.awaitServing(t, replica)
	}

	calling, stop := context.WithCancel(ctx)
	var agents sync.WaitGroup
	for g := range gateways {
		r.call(calling, &agents, g, r.revoked)
	}
	r.call(calling, &agents, away, r.unheard)
	t.Cleanup(func() { stop(); agents.Wait() })
	s.revoke(ctx, &r.history, r.revoked)
	r.late = s.mustIssue(ctx, t)

	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"under a control plane that goes on running", r.beneath},
		{"as the documents say", r.byTheDocuments},
	} {
		if !t.Run(part.name, part.run) {
			return // the next one rests on it
		}
	}
	stop()
	agents.Wait()
	if err := check(&r.history, r.revoked); err != nil {
		t.Error(err)
	}
	for _, m := range []authority.MandateID{r.revoked, r.unheard} {
		if err := neverAgain(&r.history, m); err != nil {
			t.Error(err)
		}
		t.Logf("%s: permitted %d times, refused %d times", m, r.history.count(m, permitted), r.history.count(m, revoked))
	}
	t.Logf("other answers: %v", r.history.other)
}

// call lets an agent call through a gateway until ctx ends.
func (r *restoration) call(ctx context.Context, agents *sync.WaitGroup, gateway int, m authority.MandateID) {
	a := agent{
		history: &r.history, at: &http.Client{Transport: &http.Transport{}}, gateway: gateway, address: r.addresses[gateway],
		mandate: m, token: r.agentToken, target: r.targetURL,
	}
	agents.Go(func() {
		defer a.at.CloseIdleConnections()
		a.repeat(ctx, a.short)
	})
}

// neverAgain checks that no gateway permits a mandate after it has denied it as revoked, whatever became of the receipt.
func neverAgain(h *history, m authority.MandateID) error {
	denied := map[int]int64{} // when a gateway's first denial had been answered
	for _, s := range h.of(m) {
		if before, some := denied[s.gateway]; s.what == revoked && (!some || s.answer < before) {
			denied[s.gateway] = s.answer
		}
	}
	var failed error
	for _, s := range h.of(m) {
		if at, some := denied[s.gateway]; some && s.what == permitted && s.call > at {
			failed = fmt.Errorf("gateway %d permitted mandate %s %s after it had denied it as revoked", s.gateway, m, time.Duration(s.call-at))
		}
	}
	if len(denied) == 0 {
		failed = fmt.Errorf("no gateway denied mandate %s as revoked", m)
	}
	return failed
}

// beneath puts the database back under a control plane that goes on running, as a standby that lagged and took over does.
// The load balancer leaves the gateways' streams alone: nothing but the database itself tells.
func (r *restoration) beneath(t *testing.T) {
	ctx := t.Context()
	r.balancer.leaveAlone()
	if err := r.controls[0].kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitConnected(t)
	if err := r.restore(ctx); err != nil {
		t.Fatal(err)
	}
	r.awaitRefusing(t, 1)
	if err := r.controls[0].start(); err != nil {
		t.Fatal(err)
	}
	r.awaitRefusing(t, 0)
	r.refuse(t)
	r.awaitReports(t, gateways)
	r.fails(t, []string{"status"}, "restored from a backup", "enforces revision [0-9]+, the database has [0-9]+")
	r.fails(t, []string{"doctor"}, "the database was restored from a backup, and nobody is served: gtw_", "accept-restore")
	r.fails(t, []string{"controlplane", "accept-restore"}, "nobody is served since", "say --yes")
	r.prints(t, []string{"controlplane", "accept-restore", "--collect"}, "the database is known to be restored already\n")

	knows := "gateway gtw_[a-z0-9]+ of ws_[a-z0-9]+ enforces revision [0-9]+, the database has [0-9]+, " +
		"and knows 1 mandates to be revoked, 0 principals suspended and 0 keys revoked that the database still grants\n"
	r.prints(t, []string{"controlplane", "accept-restore", "--yes", "--longest-lease", "5s"},
		"the timeline is [0-9a-f-]{36}; nobody is served since ", knows, knows, knows,
		"workspace "+slug+": at revision [0-9]+, with 1 mandates revoked, 0 principals suspended and 0 keys revoked again\n",
		"the timeline [0-9a-f-]{36} has begun; control planes serve again within a second or two, and gateways move on to it by themselves\n")
	r.servesAgain(t)
	r.listed(t, r.revoked)
	var refusal *client.Error
	if _, err := r.owner.Mandate(ctx, r.late); !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound {
		t.Errorf("the mandate that was issued after the backup: %v", err)
	}
	for g := range gateways {
		if r.knows(ctx, g, r.late) {
			t.Errorf("gateway %d permits a mandate that was lost", g)
		}
	}
	r.prints(t, []string{"controlplane", "accept-restore", "--yes"}, "there is nothing to accept")
}

// byTheDocuments restores as docs/operate.md says, while a gateway is away that knows more than those which are present.
func (r *restoration) byTheDocuments(t *testing.T) {
	ctx := t.Context()
	for g := range present {
		if err := errors.Join(r.toControl[g].cut(outward), r.toControl[g].cut(inward)); err != nil {
			t.Fatal(err)
		}
	}
	if receipt, err := r.owner.RevokeMandate(ctx, r.unheard, 0); err != nil || receipt.State != authority.ReceiptPending {
		t.Fatalf("revoke = %v %v, want pending: gateways are cut off", receipt.State, err)
	}
	if err := until(ctx, "the gateway that will be away denies it", func() bool { return r.history.count(r.unheard, revoked) > 0 }); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*program{r.gateways[away], r.controls[0], r.controls[1]} {
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
	}
	for g := range present {
		r.toControl[g].mend()
	}

	if err := r.restore(ctx); err != nil {
		t.Fatal(err)
	}
	r.prints(t, []string{"migrate"})
	r.prints(t, []string{"controlplane", "accept-restore", "--collect"}, "nobody is served from this database any more; start the control plane, and gateways tell it what they know\n")
	for _, c := range r.controls {
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
	}
	for replica := range replicas {
		r.awaitRefusing(t, replica)
	}
	r.refuse(t)
	r.awaitReports(t, present)
	r.prints(t, []string{"controlplane", "accept-restore", "--yes", "--longest-lease", "5s"},
		"nobody is served since ", "with 1 mandates revoked, 0 principals suspended and 0 keys revoked again\n", "has begun")
	for replica := range replicas {
		r.awaitServing(t, replica)
	}
	r.listed(t, r.revoked)

	if err := errors.Join(r.gateways[away].start(), r.gateways[away].await(ctx, "http://"+r.addresses[away]+"/health")); err != nil {
		t.Fatal(err)
	}
	r.awaitReports(t, 1)
	if h := r.health(t, 0); h.Status != "ok" || h.Restored == nil || h.Restored.Since != nil {
		t.Errorf("a gateway that was away has the control plane say that it is %+v", h)
	}
	r.fails(t, []string{"doctor"}, "gateways that were away when a restore was accepted know more than the database, and are not served: gtw_", "accept-restore")
	r.prints(t, []string{"controlplane", "accept-restore", "--yes"}, "a restore was accepted already; what follows was reported since\n",
		"and knows 1 mandates to be revoked", "workspace "+slug+": at revision [0-9]+, with 1 mandates revoked, 0 principals suspended and 0 keys revoked again\n")
	r.servesAgain(t)
	r.listed(t, r.unheard)
	r.forgetUnknown(t)
	r.revoke(ctx, &r.history, r.kept)
	if r.history.count(r.kept, enforced) == 0 {
		t.Error("a revocation of the new timeline does not become enforced")
	}
	r.prints(t, []string{"controlplane", "accept-restore"}, "there is nothing to accept")
}

// forgetUnknown says that no process runs which enrolled after the backup: revocations would wait for such ones.
func (r *restoration) forgetUnknown(t *testing.T) {
	t.Helper()
	all, err := r.owner.Gateways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if g.Instance == "(processes that the backup does not know)" {
			r.prints(t, []string{"gateway", "forget", string(g.ID), "--reason", "nothing enrolled since the backup", "--yes"}, string(g.ID))
			return
		}
	}
	t.Errorf("no gateway stands for those that the backup does not know: %+v", all)
}

// awaitConnected waits until all gateways are connected to a control plane.
func (r *restoration) awaitConnected(t *testing.T) {
	t.Helper()
	for g := range gateways {
		err := until(t.Context(), "a gateway is connected", func() bool {
			_, body, err := fetch(t.Context(), "http://"+r.addresses[g]+"/health", "")
			return err == nil && strings.Contains(body, `"connected":true`)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// awaitReports waits until so many gateways have told what they know.
func (r *restoration) awaitReports(t *testing.T, many int) {
	t.Helper()
	for replica := range replicas {
		err := until(t.Context(), fmt.Sprintf("%d gateways have told what they know", many), func() bool {
			h := r.health(t, replica)
			return h.Restored != nil && len(h.Restored.Gateways) == many
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// servesAgain waits until everything serves: each control plane, and each gateway what is issued now.
func (r *restoration) servesAgain(t *testing.T) {
	t.Helper()
	for replica := range replicas {
		r.awaitServing(t, replica)
	}
	r.mustIssue(t.Context(), t)
	var all []client.Gateway
	err := until(t.Context(), "the gateways are in sync", func() bool {
		var err error
		all, err = r.owner.Gateways(t.Context())
		serving := 0
		for _, g := range all {
			if g.Connected && g.State == client.GatewayInSync {
				serving++
			}
		}
		return err == nil && serving == gateways
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, all)
	}
}

// listed checks that a mandate is revoked, as whoever lists or uses it is told.
func (r *restoration) listed(t *testing.T, m authority.MandateID) {
	t.Helper()
	if got, err := r.owner.Mandate(t.Context(), m); err != nil || !got.Revoked {
		t.Errorf("mandate %s is revoked: %t %v", m, got.Revoked, err)
	}
	r.prints(t, []string{"mandate", "list", "--state", "revoked"}, string(m))
}
