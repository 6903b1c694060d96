package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/lease"
)

// stuck has something be in the place of a file that cannot be taken away, and answers how to.
func stuck(t *testing.T, path string) (mend func()) {
	t.Helper()
	swap(t, path)
	return func() {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// keeping is a gateway that enforces revision 7, has it on the disk, and a lease of a minute beside it.
func keeping(t *testing.T) (*receiver, *tenant) {
	t.Helper()
	r, p := newReceiver(t), newTenant(t)
	r.bar = p.bar
	r.enforcesWhole(7)
	p.grant(4)
	if err := r.keeper.journal.Close(); err != nil { // every write to it fails from now on
		t.Fatal(err)
	}
	r.world.Revoke(r.world.Mandate.ID)
	return r, p
}

func (r *receiver) enforcesWhole(revision uint64) {
	r.t.Helper()
	acknowledged, refused := r.sendWhole()
	r.enforces(revision, acknowledged, refused)
}

func TestNoLeaseIsLeftBesideAStateThatIsOlderThanWhatWasAcknowledged(t *testing.T) {
	r, p := keeping(t)
	mend := stuck(t, r.keeper.file.Path)
	acknowledged, refused := r.send(r.delta())
	r.enforces(8, acknowledged, refused)
	p.grant(5)
	if _, err := p.file.read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lease is left to the next process: %v", err)
	}
	if p.held.Number != 5 || p.lowest() != 5 {
		t.Errorf("this process holds %+v", p.held)
	}
	mend()
	r.world.State.Revision, r.world.State.Workspace.Revision = 9, 9
	r.enforcesWhole(9)
	p.grant(6)
	if kept, err := p.file.read(); err != nil || kept.Number != 6 {
		t.Errorf("once the state is kept, the lease is not: %+v, %v", kept, err)
	}
}

// Where nothing can be taken away, the lease is what ends the doubt.
func TestWhatARestartWouldUndoIsNotAcknowledged(t *testing.T) {
	for sentence, c := range map[string]struct {
		meanwhile func(p *tenant, state, kept func())
		said      bool
	}{
		"while the lease on the disk lasts": {func(p *tenant, _, _ func()) {
			p.clocks.pass(time.Minute - 1)
			p.clocks.step(time.Hour) // which can be taken back
		}, false},
		"until it has ended":                   {func(p *tenant, _, _ func()) { p.clocks.pass(time.Minute) }, true},
		"until the state can be taken away":    {func(_ *tenant, state, _ func()) { state() }, true},
		"until the lease can be taken away":    {func(_ *tenant, _, kept func()) { kept() }, true},
		"also by a lease that is granted anew": {func(p *tenant, _, _ func()) { p.grant(5) }, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			r, p := keeping(t)
			state, kept := stuck(t, r.keeper.file.Path), stuck(t, p.file.path)
			acknowledged, refused := r.send(r.delta())
			if acknowledged != nil || refused != nil || r.service.Snapshot().State().Revision != 8 {
				t.Fatalf("it is answered %v, %v", acknowledged, refused)
			}
			if late := r.overdue(); late != nil || !r.unsaid.Load() {
				t.Fatalf("it is acknowledged right after: %v", late)
			}
			c.meanwhile(p, state, kept)
			late := r.overdue()
			if said := late != nil; said != c.said || said == r.unsaid.Load() || said && late.GetRevision() != 8 {
				t.Errorf("it is answered %v", late)
			}
			if again := r.overdue(); again != nil {
				t.Errorf("it is said twice: %v", again)
			}
		})
	}
}

// What could not be removed as a process started may be fit for the next.
func TestAKeptLeaseThatCannotBeRemovedCounts(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	next := p.restarted()
	next.boot = "another"
	stuck(t, next.file.path)
	if err := next.resume("one", 7); err == nil || next.held != (lease.Lease{}) {
		t.Fatalf("it goes on under %+v (%v)", next.held, err)
	}
	next.grant(9)
	if next.lowest() != 1 || !next.bar(true) {
		t.Errorf("the lowest lease is said to be %d", next.lowest())
	}
	if _, err := os.Stat(filepath.Join(next.dir, "lease")); err != nil {
		t.Fatal(err)
	}
}

// A state of the next timeline may be one in which nothing of what this gateway knows to be revoked is revoked yet.
func TestALeaseEndsBeforeTheTimelineThatItWasGrantedOn(t *testing.T) {
	r, p := newReceiver(t), newTenant(t)
	heldUnder := map[uint64]uint64{} // the revision that was enforced as the lease was given up, and the lease after it
	r.succeeded = func() {
		p.succeeded()
		heldUnder[r.service.Snapshot().Revision()] = p.held.Number
	}
	r.enforcesWhole(7)
	p.grant(4)
	r.world.State.Revision, r.world.State.Workspace.Revision = 8, 8
	r.enforcesWhole(8)
	if p.held.Number != 4 {
		t.Fatalf("on the same timeline it holds %+v", p.held)
	}
	r.world.Succeeds = []string{r.world.State.Timeline}
	r.world.State.Timeline = "7c0e6f2a-0f0e-4d0b-8a35-1b9f6a9d0c02"
	r.enforcesWhole(8)
	if diff := cmp.Diff(map[uint64]uint64{8: 0}, heldUnder); diff != "" {
		t.Errorf("the lease was given up (-want +got)\n%s", diff)
	}
	if _, err := p.file.read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lease is left to the next process: %v", err)
	}
	p.grant(3) // a database that was put back counts leases anew
	if p.held.Number != 3 {
		t.Errorf("after a grant on the next timeline it holds %+v", p.held)
	}
}
