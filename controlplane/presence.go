package controlplane

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Process is a gateway process as the sync server needs it.
type Process = postgres.Gateway

// OwnGateway finds an enrolled process of the caller's own gateway key, for the sync server. One that was declared dead is
// not there, so that it enrols anew; one that is revoked is forbidden.
func (s *Service) OwnGateway(ctx context.Context, c Caller, id authority.GatewayID) (Process, error) {
	return read(ctx, s, c, allowed("find_gateway"), func(ctx context.Context, tx *postgres.Tx) (Process, error) {
		g, err := tx.Gateway(ctx, id)
		switch {
		case err == nil && (g.KeyID != c.key || g.ForgottenAt != nil):
			err = postgres.ErrNotFound
		case err == nil && g.RevokedAt != nil:
			err = errRevokedGateway
		}
		return g, orNotFound("gateway", err)
	})
}

// Presence is one stream of a gateway process.
type Presence struct {
	// Ended ends when the process is to be served no more; its cause is an *authority.Error that says why.
	Ended context.Context
	// Leave has to be called when the stream is over.
	Leave func()
}

// ConnectGateway marks the process connected and notes its name, unless that is empty, and which program it runs. A program
// that does not read what is served is refused; it may decide from what it has all the same.
func (s *Service) ConnectGateway(ctx context.Context, c Caller, id authority.GatewayID, instance string, p Program) (Presence, error) {
	if unreadable := p.check(); unreadable != nil {
		return Presence{}, firstOf(s.note(ctx, c, "connect_gateway", func(ctx context.Context, tx *postgres.Tx) error {
			return tx.MeetGateway(ctx, id, s.now())
		}), unreadable)
	}
	if err := s.permit(ctx, c, allowed("connect_gateway")); err != nil {
		return Presence{}, err
	}
	refusal, err := s.passages.submit(ctx, c.workspace, passage{gateway: id, key: c.key, instance: instance, program: p})
	if err := s.tell(ctx, firstOf(err, refusal)); err != nil {
		return Presence{}, err
	}
	ended, release := s.connected.add(connection{c.workspace, id}, func(of *presences) {
		go s.watchConnected(context.WithoutCancel(ctx), c.workspace, of)
	})
	return Presence{Ended: ended, Leave: func() {
		if !release() {
			return // another stream of the same process is open
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalTimeout)
		defer cancel()
		_, err := s.passages.submit(ctx, c.workspace, passage{gateway: id, key: c.key, leaves: true})
		if err != nil {
			s.log.Warn("disconnection of a gateway not recorded", "gateway", id, "cause", err)
		}
	}}, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// watchConnected ends the streams of a workspace's gateways that are revoked, or whose key is or has expired, with one look
// at all of them after each change and whenever a key ends. It lives as long as one of them is connected to this replica.
func (s *Service) watchConnected(ctx context.Context, w authority.WorkspaceID, of *presences) {
	wake, cancel := s.changes.subscribe(w)
	defer cancel()
	for {
		var again <-chan time.Time
		next, err := s.endConnected(ctx, w, s.connected.of(of))
		switch {
		case err != nil:
			s.log.Debug("connected gateways not looked at; it is tried again", "workspace", w, "cause", err)
			again = time.After(revisionPoll)
		case next != nil:
			again = time.After(next.Sub(s.now()))
		}
		select {
		case <-of.over:
			return
		case <-of.added:
		case <-wake:
		case <-again:
		}
	}
}

// endConnected ends the streams of those of the given gateways that are served no more. It answers when the key of another
// ends; nil where none does.
func (s *Service) endConnected(ctx context.Context, w authority.WorkspaceID, ids []authority.GatewayID) (next *time.Time, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.store.Read(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		at := s.now()
		ended, err := tx.EndedGateways(ctx, ids, at)
		for _, g := range ended {
			cause := errUnauthenticated
			switch {
			case g.Forgotten:
				cause = authority.NotFound("gateway")
			case g.Revoked:
				cause = errRevokedGateway
			}
			s.connected.end(connection{w, g.ID}, cause)
		}
		if err == nil {
			next, err = tx.NextKeyEnd(ctx, ids, at)
		}
		return err
	})
	return next, err
}

// connection is one gateway process that is connected to this replica.
type connection struct {
	workspace authority.WorkspaceID
	gateway   authority.GatewayID
}

// connections are the gateway processes that are connected to this replica. The zero value is ready.
type connections struct {
	mu          sync.Mutex // guards all that hangs on workspaces, but for what channels do
	byWorkspace map[authority.WorkspaceID]*presences
}

// presences are those of one workspace.
type presences struct {
	count     int // of streams
	processes map[authority.GatewayID]*streams
	added     chan struct{} // is sent to after a stream has come
	over      chan struct{} // closed when the last is over
}

// streams are those of one process.
type streams struct {
	count int
	ended context.Context
	end   context.CancelCauseFunc
}

// add counts a stream; first is called for the first of a workspace. What it answers ends when the process is ended. The
// returned function takes the stream away and reports whether it was the last of its process.
func (cs *connections) add(c connection, first func(*presences)) (ended context.Context, release func() bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.byWorkspace == nil {
		cs.byWorkspace = map[authority.WorkspaceID]*presences{}
	}
	ps := cs.byWorkspace[c.workspace]
	if ps == nil {
		ps = &presences{processes: map[authority.GatewayID]*streams{}, added: make(chan struct{}, 1), over: make(chan struct{})}
		cs.byWorkspace[c.workspace] = ps
		defer first(ps)
	}
	own := ps.processes[c.gateway]
	if own == nil {
		own = &streams{}
		own.ended, own.end = context.WithCancelCause(context.Background())
		ps.processes[c.gateway] = own
	}
	ps.count++
	own.count++
	select {
	case ps.added <- struct{}{}:
	default:
	}
	return own.ended, func() bool { return cs.release(c, ps, own) }
}

func (cs *connections) release(c connection, ps *presences, own *streams) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if ps.count--; ps.count == 0 {
		close(ps.over)
		delete(cs.byWorkspace, c.workspace)
	}
	if own.count--; own.count > 0 {
		return false
	}
	own.end(context.Canceled)
	current, another := ps.processes[c.gateway]
	if current == own {
		delete(ps.processes, c.gateway)
		another = false
	}
	return !another
}

// of are the processes of a workspace that are connected and have not been ended.
func (cs *connections) of(ps *presences) []authority.GatewayID {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Keys(ps.processes))
}

// end ends the streams that a process has; it may come back with others.
func (cs *connections) end(c connection, cause error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if ps := cs.byWorkspace[c.workspace]; ps != nil && ps.processes[c.gateway] != nil {
		ps.processes[c.gateway].end(cause)
		delete(ps.processes, c.gateway)
	}
}

// all are the connected processes, by workspace.
func (cs *connections) all() map[authority.WorkspaceID][]authority.GatewayID {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all := make(map[authority.WorkspaceID][]authority.GatewayID, len(cs.byWorkspace))
	for w, ps := range cs.byWorkspace {
		all[w] = slices.Collect(maps.Keys(ps.processes))
	}
	return all
}
