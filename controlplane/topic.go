package controlplane

import (
	"sync"

	"github.com/caracal-gateway/caracal/authority"
)

// topic wakes those who wait for something of a workspace. Wake-ups carry nothing and coalesce, so that nobody is
// waited for: whoever wakes looks for itself. The zero topic is ready.
type topic struct {
	mu      sync.Mutex // guards waiting
	waiting map[authority.WorkspaceID]map[chan struct{}]struct{}
	bridge  func(authority.WorkspaceID) // tells the other replicas; nil where there is none to tell
}

// subscribe adds a channel that is sent to after each wake. The caller must call cancel.
func (t *topic) subscribe(w authority.WorkspaceID) (wake <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = map[authority.WorkspaceID]map[chan struct{}]struct{}{}
	}
	if t.waiting[w] == nil {
		t.waiting[w] = map[chan struct{}]struct{}{}
	}
	t.waiting[w][c] = struct{}{}
	return c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting[w], c)
		if len(t.waiting[w]) == 0 {
			delete(t.waiting, w)
		}
	}
}

// wake wakes those who wait here and at other replicas.
func (t *topic) wake(w authority.WorkspaceID) {
	t.wakeHere(w)
	if t.bridge != nil {
		t.bridge(w)
	}
}

func (t *topic) wakeHere(w authority.WorkspaceID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.waiting[w] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// wakeAll wakes whoever waits for anything.
func (t *topic) wakeAll() {
	for _, w := range t.workspaces() {
		t.wake(w)
	}
}

// workspaces are those that somebody waits for.
func (t *topic) workspaces() []authority.WorkspaceID {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]authority.WorkspaceID, 0, len(t.waiting))
	for w := range t.waiting {
		ids = append(ids, w)
	}
	return ids
}
