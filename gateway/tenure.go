package gateway

import (
	"errors"
	"log/slog"
	"os"
	"sync"

	"github.com/caracal-gateway/caracal/lease"
)

// tenure is the lease of this process: the decision service holds it, the disk keeps it for the next process, and the end
// of this one gives it up.
type tenure struct {
	hold func(lease.Lease) // makes it the one that decisions are made under
	file leaseFile
	boot string // id; empty where the host does not tell one
	read func() lease.Reading
	log  *slog.Logger

	mu      sync.Mutex
	gateway string // id that the lease was granted to
	newest  lease.Lease
	kept    lease.Lease // the one on the disk; the zero Lease for none
	barred  bool        // none is to be kept
	left    bool        // nothing is held any more
}

// terms are whom a lease is granted to, and what that gateway enforces.
type terms struct {
	gateway, timeline string
	revision          uint64
}

// resume goes on under the lease that an earlier process kept, if it covers this one. The error says why it does not.
func (t *tenure) resume(timeline string, revision uint64) error {
	kept, err := t.file.read()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var covered lease.Lease
	if err == nil {
		covered, err = kept.resume(present{t.boot, t.read(), timeline, revision})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if stays := t.file.remove(); stays != nil {
			// A later process may find it fit.
			t.kept = lease.Lease{Number: max(kept.Number, 1), End: t.read()}
			t.kept.End.Boot += lease.MaxTerm
			return errors.Join(err, stays)
		}
		return err
	}
	t.gateway, t.newest, t.kept = kept.Gateway, covered, covered
	t.hold(covered)
	t.log.Info("the kept lease is resumed", "lease", covered.Number, "for", covered.End.Boot-t.read().Boot)
	return nil
}

// take holds a lease that was granted, unless one that is as new was granted before.
func (t *tenure) take(granted lease.Lease, on terms) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if on.gateway == t.gateway && t.newest.Adopt(granted) == t.newest {
		t.log.Error("a lease is not held that is not newer than the last", "lease", granted.Number, "last", t.newest.Number)
		return
	}
	t.gateway, t.newest = on.gateway, granted
	if t.left {
		return // it is for the surrender to name
	}
	t.hold(granted)
	t.keep(on)
}

// keep writes the lease down. Where that cannot be done the next process starts without one, which denies everything until
// it is granted its own. The caller holds the lock.
func (t *tenure) keep(on terms) {
	if t.boot == "" || t.barred {
		return
	}
	now := t.read()
	err := t.file.write(keptLease{
		Boot: t.boot, Gateway: on.gateway, Timeline: on.timeline, Revision: on.revision, Number: t.newest.Number,
		KeptBoot: now.Boot, KeptWall: now.Wall.Round(0), EndBoot: t.newest.End.Boot, EndWall: t.newest.End.Wall,
	})
	if err != nil {
		t.log.Error("the lease is held but not kept", "lease", t.newest.Number, "cause", errors.Join(err, t.unkeep()))
		return
	}
	t.kept = t.newest
}

// bar has no lease be on the disk from now on, or takes that back. It reports whether one is left there that has not ended.
func (t *tenure) bar(barred bool) (left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.barred = barred; !barred {
		return t.lingers()
	}
	if err := t.unkeep(); err != nil {
		t.log.Error("an older state and the lease are left on the disk: no newer one is acknowledged until the lease has ended", "cause", err)
	}
	return t.lingers()
}

// lingers reports whether the lease on the disk has not ended: by the one clock that nobody sets back. The caller holds the
// lock.
func (t *tenure) lingers() bool { return t.kept.Number != 0 && t.read().Boot < t.kept.End.Boot }

// unkeep leaves no lease to the next process. The caller holds the lock.
func (t *tenure) unkeep() error {
	if err := t.file.remove(); err != nil {
		return err
	}
	t.kept = lease.Lease{}
	return nil
}

// lowest is the lowest number of a lease that this gateway may decide by, now or after a restart; 0 for none.
func (t *tenure) lowest() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept.Number != 0 && t.newest.Number != 0 {
		return min(t.kept.Number, t.newest.Number)
	}
	return max(t.kept.Number, t.newest.Number)
}

// belongs gives the lease up unless it was granted to the gateway of this id, the one that the control plane knows this
// process by; empty for none. It does not wait for gateways that it knows no more, such as one that was declared dead.
func (t *tenure) belongs(gateway string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.newest.Number == 0 || t.gateway == gateway {
		return
	}
	t.giveUp("the control plane does not know this gateway by the id that it was granted to")
}

// succeeded gives the lease up because another timeline is about to be enforced than the one that it was granted on. The first
// states of that may permit what this gateway has denied as revoked; the control plane grants a lease on it only for one
// that has everything which was taken away.
func (t *tenure) succeeded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.newest.Number != 0 {
		t.giveUp("another timeline takes the place of the one that it was granted on")
	}
}

// giveUp ends the lease, after which one of any number is taken. The caller holds the lock.
func (t *tenure) giveUp(cause string) {
	t.log.Warn("the lease is given up", "cause", cause, "lease", t.newest.Number, "id", t.gateway)
	t.newest = lease.Lease{}
	t.drop()
}

// leave gives the lease up for good: nothing is decided from now on. It gives the number to surrender; 0 for none, also
// where a file stays that the next process may find the lease in.
func (t *tenure) leave() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.left {
		t.left = true
		t.drop()
	}
	if t.kept.Number != 0 {
		return 0
	}
	return t.newest.Number
}

// drop ends the lease on this host. The caller holds the lock.
func (t *tenure) drop() {
	t.hold(lease.Lease{})
	if err := t.unkeep(); err != nil {
		t.log.Error("the lease is over but still kept", "cause", err)
	}
}
