package controlplane

import (
	"context"
	"errors"
	"sync"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// maxGathered bounds how many gateways one transaction writes for.
	maxGathered = 500
	// maxGathering bounds how many such transactions of one kind a replica has open, so that gateways leave connections to
	// everybody else.
	maxGathering = 3
)

// gathering writes what many gateways of a workspace say at about the same time in one transaction: while one runs, what
// comes in gathers for the next. Nobody waits for company.
type gathering[I, O any] struct {
	// write handles what was gathered. It answers each, in its order.
	write func(context.Context, authority.WorkspaceID, []I) ([]O, error)
	open  chan struct{} // holds a token for each transaction

	mu      sync.Mutex // guards waiting and running
	waiting map[authority.WorkspaceID][]*gathered[I, O]
	running map[authority.WorkspaceID]bool
}

type gathered[I, O any] struct {
	ctx  context.Context
	in   I
	out  O
	err  error
	done chan struct{} // closed when out or err is there
}

func gather[I, O any](write func(context.Context, authority.WorkspaceID, []I) ([]O, error)) *gathering[I, O] {
	return &gathering[I, O]{
		write: write, open: make(chan struct{}, maxGathering),
		waiting: map[authority.WorkspaceID][]*gathered[I, O]{}, running: map[authority.WorkspaceID]bool{},
	}
}

// submit hands something in and waits for its answer. When ctx ends first, it may have been written all the same.
func (g *gathering[I, O]) submit(ctx context.Context, w authority.WorkspaceID, in I) (O, error) {
	item := &gathered[I, O]{ctx: ctx, in: in, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting[w] = append(g.waiting[w], item)
	if !g.running[w] {
		g.running[w] = true
		go g.run(context.WithoutCancel(ctx), w)
	}
	g.mu.Unlock()
	select {
	case <-item.done:
		return item.out, item.err
	case <-ctx.Done():
		var none O
		return none, ctx.Err()
	}
}

// run writes until nothing of the workspace waits. Each write ends by the store's own bounds.
func (g *gathering[I, O]) run(ctx context.Context, w authority.WorkspaceID) {
	g.open <- struct{}{}
	defer func() { <-g.open }()
	for {
		items := g.take(w)
		if items == nil {
			return
		}
		g.answer(ctx, w, items)
	}
}

// take is what is to be written next; nil when nothing waits, after which the next to come starts a run of its own.
func (g *gathering[I, O]) take(w authority.WorkspaceID) []*gathered[I, O] {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.waiting[w]
	if len(all) == 0 {
		delete(g.waiting, w)
		delete(g.running, w)
		return nil
	}
	n := min(len(all), maxGathered)
	g.waiting[w] = all[n:]
	return all[:n]
}

var errNotWritten = errors.New("nothing was written")

// answer writes for those who still wait. Everybody is answered, even where writing panics.
func (g *gathering[I, O]) answer(ctx context.Context, w authority.WorkspaceID, items []*gathered[I, O]) {
	var (
		live []*gathered[I, O]
		in   []I
		out  []O
		err  = errNotWritten
	)
	for _, item := range items {
		if item.ctx.Err() == nil {
			live, in = append(live, item), append(in, item.in)
		}
	}
	defer func() {
		for i, item := range live {
			if item.err = err; err == nil {
				item.out = out[i]
			}
			close(item.done)
		}
	}()
	if len(live) > 0 {
		out, err = g.write(ctx, w, in)
	}
}
