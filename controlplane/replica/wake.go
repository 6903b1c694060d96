package replica

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/authority"
)

// Topic is what a wake-up is about.
type Topic string

// The topics.
const (
	Changes Topic = "changes" // of a workspace
	Acks    Topic = "acks"    // of gateways of a workspace
)

const (
	wakeChannel = prefix + "wake"
	// wakePause is the shortest time between two wake-ups of the same kind that come from other replicas: whoever can write
	// to Redis can have the database be read so often, and no more.
	wakePause = 10 * time.Millisecond
	// maxWakes bounds how many different wake-ups wait to be sent, or to be passed on. More are dropped: those who wait look
	// for themselves each second.
	maxWakes = 10_000
)

// wakeUp is a hint that there is something to look at.
type wakeUp struct {
	topic     Topic
	workspace authority.WorkspaceID
}

// wakes gathers wake-ups, so that many of the same are one. The zero value is not ready.
type wakes struct {
	mu      sync.Mutex // guards waiting
	waiting map[wakeUp]struct{}
	some    chan struct{}
}

func newWakes() *wakes { return &wakes{waiting: map[wakeUp]struct{}{}, some: make(chan struct{}, 1)} }

func (w *wakes) add(u wakeUp) {
	w.mu.Lock()
	if len(w.waiting) < maxWakes {
		w.waiting[u] = struct{}{}
	}
	w.mu.Unlock()
	select {
	case w.some <- struct{}{}:
	default:
	}
}

func (w *wakes) take() []wakeUp {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]wakeUp, 0, len(w.waiting))
	for u := range w.waiting {
		all = append(all, u)
	}
	clear(w.waiting)
	return all
}

// Wake tells the other replicas that there is something to look at in a workspace. It does not wait, and what it tells may
// be lost.
func (r *Replica) Wake(topic Topic, workspace authority.WorkspaceID) {
	if r.redis != nil {
		r.outgoing.add(wakeUp{topic, workspace})
	}
}

// Woken passes on the wake-ups of other replicas until ctx ends. They are hints, which anybody who can write to Redis can
// forge: whoever is woken looks at the database, and finds what there is.
func (r *Replica) Woken(ctx context.Context, pass func(Topic, authority.WorkspaceID)) error {
	if r.redis == nil {
		<-ctx.Done()
		return nil
	}
	incoming := newWakes()
	self := rand.Text()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.hear(ctx, self, incoming) })
	g.Go(func() error { return passOn(ctx, incoming, pass) })
	g.Go(func() error { return r.send(ctx, self) })
	return g.Wait()
}

// hear takes what other replicas send. The client connects again when Redis was away.
func (r *Replica) hear(ctx context.Context, self string, incoming *wakes) error {
	subscription := r.redis.Subscribe(ctx, wakeChannel)
	defer subscription.Close() //nolint:errcheck // nobody reads from it any more
	messages := subscription.Channel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-messages:
			if !ok {
				return nil
			}
			if u, from, ok := readWakeUp(m.Payload); ok && from != self {
				incoming.add(u)
			}
		}
	}
}

// readWakeUp reads what a replica wrote. What is not of its form is nothing.
func readWakeUp(text string) (u wakeUp, from string, ok bool) {
	from, rest, _ := strings.Cut(text, " ")
	topic, id, _ := strings.Cut(rest, " ")
	workspace, err := authority.ParseID[authority.WorkspaceID](id)
	u = wakeUp{Topic(topic), workspace}
	return u, from, err == nil && (u.topic == Changes || u.topic == Acks)
}

// passOn passes wake-ups on, those that come in a burst together.
func passOn(ctx context.Context, incoming *wakes, pass func(Topic, authority.WorkspaceID)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-incoming.some:
		}
		for _, u := range incoming.take() {
			pass(u.topic, u.workspace)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wakePause):
		}
	}
}

// send tells the other replicas what has gathered.
func (r *Replica) send(ctx context.Context, self string) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.outgoing.some:
		}
		all := r.outgoing.take()
		r.ask(ctx, func(ctx context.Context) error {
			p := r.redis.Pipeline()
			for _, u := range all {
				p.Publish(ctx, wakeChannel, self+" "+string(u.topic)+" "+string(u.workspace))
			}
			_, err := p.Exec(ctx)
			return err
		})
	}
}
