package controlplane

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Message is one step of a feed: the whole state, or what changes the state that the gateway was given before.
type Message struct {
	// From is the revision that a change applies to; 0 for the whole state.
	From     uint64
	Revision uint64
	Sealed   []byte // of a change
	Whole    *Whole // nil for a change; the receiver closes it
}

// Feed brings one gateway from where it is to the present, and keeps it there. Its methods are safe for concurrent use.
type Feed struct {
	image *image
	wake  chan struct{}
	close sync.Once

	// What follows is guarded by the image.
	given       Position
	outstanding []given // and not acknowledged yet, the oldest first
	needsWhole  bool    // nothing leads on from what was given
}

// given is a state that a gateway was given, as a whole or by a change.
type given struct {
	at    Position
	whole bool
}

// maxOutstanding bounds what a feed remembers of what it gave; a gateway acknowledges the newest.
const maxOutstanding = 64

// Follow begins a feed for a gateway that is at a position. The caller must call Close.
func (s *Service) Follow(ctx context.Context, c Caller, from Position) (*Feed, error) {
	if err := s.permit(ctx, c, allowed("snapshot")); err != nil {
		return nil, err
	}
	f := &Feed{wake: make(chan struct{}, 1), given: from}
	s.images.join(s, c.workspace, f)
	return f, nil
}

// Close ends the feed.
func (f *Feed) Close() {
	f.close.Do(func() { f.image.service.images.leave(f) })
}

// Wake is sent to when there may be something next.
func (f *Feed) Wake() <-chan struct{} { return f.wake }

func (f *Feed) stir() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Given is the revision that the gateway has been given; 0 for none.
func (f *Feed) Given() uint64 {
	f.image.mu.Lock()
	defer f.image.mu.Unlock()
	return f.given.Revision
}

// Look has the state of the database be read, unless that was begun after this was called, and answers its revision. Next
// leads there.
func (f *Feed) Look(ctx context.Context) (uint64, error) {
	i := f.image
	if err := i.look(ctx, time.Now()); err != nil {
		return 0, i.service.tell(ctx, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.at.Revision, nil
}

// Hurry has the state of the database be read soon, whether there was a wake-up or not.
func (f *Feed) Hurry() { f.image.nudge() }

// Next is the next step; nil while there is none, until Wake is sent to.
func (f *Feed) Next() *Message {
	i := f.image
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.Revision == 0 || i.at.is(f.given) && !f.needsWhole {
		return nil
	}
	if f.needsWhole {
		if i.suits(f) {
			f.needsWhole = false
			f.give(given{i.whole.at, true})
			return &Message{Revision: i.whole.at.Revision, Whole: i.whole.use()}
		}
	} else if next, ok := i.steps.from[f.given.standpoint()]; ok {
		f.give(given{next.to, false})
		return &Message{From: next.from.Revision, Revision: next.to.Revision, Sealed: next.sealed}
	}
	i.nudge()
	return nil
}

func (f *Feed) give(g given) {
	f.given = g.at
	if f.outstanding = append(f.outstanding, g); len(f.outstanding) > maxOutstanding {
		f.outstanding = f.outstanding[1:]
	}
}

// Acknowledged takes note of what the gateway says that it enforces. Where that is another state than the one that it was
// given under this revision, it is given the whole state, and the answer is false.
func (f *Feed) Acknowledged(revision uint64, digest []byte) bool {
	i := f.image
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(f.outstanding) > 0 && f.outstanding[0].at.Revision <= revision {
		given := f.outstanding[0].at
		f.outstanding = f.outstanding[1:]
		if given.Revision == revision && !bytes.Equal(given.Digest, digest) {
			f.needsWhole = true
			f.stir()
			return false
		}
	}
	return true
}

// Refused says that the gateway did not apply what it was given under a revision, or asks for the whole state. It is given
// that in the place of a change. A whole state that it refused is not given again until something changes, since nothing
// leads on then from what the gateway has.
func (f *Feed) Refused(revision uint64, asksForWhole bool) {
	f.image.mu.Lock()
	defer f.image.mu.Unlock()
	refusedChange := slices.ContainsFunc(f.outstanding, func(g given) bool { return g.at.Revision == revision && !g.whole })
	if asksForWhole || refusedChange {
		f.needsWhole = true
		f.outstanding = nil
		f.stir()
	}
}

// images are those of the workspaces whose gateways are connected to this replica. The zero value is ready.
type images struct {
	mu  sync.Mutex // guards all and the number of feeds of each
	all map[authority.WorkspaceID]*image
}

// join adds a feed to the image of its workspace.
func (is *images) join(s *Service, w authority.WorkspaceID, f *Feed) {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.all == nil {
		is.all = map[authority.WorkspaceID]*image{}
	}
	i := is.all[w]
	if i == nil {
		i = newImage(s, w)
		is.all[w] = i
	}
	f.image = i
	i.mu.Lock()
	defer i.mu.Unlock()
	i.feeds[f] = struct{}{}
	if i.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		i.stop = stop
		go i.run(ctx) // until the last feed leaves
	}
	f.stir()
}

// leave takes a feed away. An image that nobody follows stands still, and is forgotten after a while.
func (is *images) leave(f *Feed) {
	is.mu.Lock()
	defer is.mu.Unlock()
	i := f.image
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.feeds, f)
	if len(i.feeds) > 0 || i.stop == nil {
		return
	}
	i.stop()
	i.stop = nil
	time.AfterFunc(imageKept, func() { is.forget(i) })
}

// forget drops an image that nobody follows.
func (is *images) forget(i *image) {
	is.mu.Lock()
	defer is.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.feeds) > 0 || is.all[i.workspace] != i {
		return
	}
	delete(is.all, i.workspace)
	if i.whole != nil {
		_ = i.whole.Close() // it is a file without a name, which nobody reads any more
		i.whole = nil
	}
}
