package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/rego"
	"github.com/caracal-gateway/caracal/token"
)

// applier brings the state that the control plane sends into force, and keeps it for the next process.
type applier struct {
	workspace string // slug that the operator configured
	stateDir  string
	fixed     envoy.Resources
	bootstrap bootstrap
	service   *extauthz.Service
	xds       *xds
	state     *state
	keeper    *keeper
	// bar has no lease be kept for the next process, or takes that back, and reports whether one is all the same.
	bar func(bool) bool
	// succeeded gives up the lease of a timeline that another has taken the place of.
	succeeded func()
	log       *slog.Logger

	unsaid   atomic.Bool // what is enforced has not been acknowledged; set under applying
	applying sync.Mutex  // one change at a time; guards what follows
	trust    bundle.Trust
	envoy    []byte // the configuration of the state that is enforced
	evidence bundle.Evidence
	incoming *incoming // a snapshot that has not come whole; nil for none
	asked    bool      // the control plane has been asked for a snapshot
	cut      uint64    // live streams that were ended since the last acknowledgement
}

// next is a state that is ready to be enforced.
type next struct {
	snapshot *extauthz.Snapshot
	change   extauthz.Change
	trust    bundle.Trust
	envoy    []byte
	evidence bundle.Evidence
}

// begin forgets what the stream before was in the middle of.
func (a *applier) begin() {
	a.applying.Lock()
	defer a.applying.Unlock()
	a.forget()
	a.asked = false
}

func (a *applier) forget() {
	if a.incoming != nil {
		a.incoming.drop()
		a.incoming = nil
	}
}

// take applies a piece of a snapshot, or a delta. It says what is enforced by now, or why that which came is not: nothing
// of the two as long as pieces are missing. Both are said where it is enforced and a snapshot is wanted still. An error is
// a busy host's, which the bundle is not at fault for: the stream is to end, and the control plane sends it again on the
// next.
func (a *applier) take(ctx context.Context, m *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
	a.applying.Lock()
	defer a.applying.Unlock()
	var (
		revision uint64
		cut      int
		done     bool
		err      error
	)
	switch m := m.GetMessage().(type) {
	case *syncpb.ControlMessage_Bundle:
		revision = m.Bundle.GetRevision()
		cut, done, err = a.piece(ctx, m.Bundle)
	case *syncpb.ControlMessage_Delta:
		revision = m.Delta.GetRevision()
		cut, err = a.delta(ctx, m.Delta.GetSealed())
		done = true
	default:
		return nil, nil, nil
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, nil //nolint:nilerr // the gateway leaves, and enforces nothing more
	case err != nil:
		refused, err := a.refuse(revision, err)
		return nil, refused, err
	case !done:
		return nil, nil, nil
	}
	a.cut += uint64(cut)
	return a.acknowledge(), a.compact(), nil
}

// acknowledge says what is enforced; nothing while the next process could go on from an older state.
func (a *applier) acknowledge() *syncpb.Acknowledged {
	enforced := lease.Position{Timeline: a.trust.Timeline, Revision: a.trust.Revision}
	if err := a.keeper.clear(); err != nil {
		a.log.Debug("an older state is left on the disk", "revision", enforced.Revision, "cause", err)
	}
	found := a.keeper.found(enforced)
	left := a.bar(found != enforced && found != lease.Position{})
	if !lease.Acknowledgeable(enforced, found, left) {
		a.unsaid.Store(true)
		return nil
	}
	a.unsaid.Store(false)
	said := &syncpb.Acknowledged{Revision: a.trust.Revision, Digest: a.trust.Digest, StreamsCut: a.cut}
	a.cut = 0
	return said
}

// overdue acknowledges what could not be acknowledged as it was enforced, once it can be. It does not wait for a change that is
// being applied.
func (a *applier) overdue() *syncpb.Acknowledged {
	if !a.unsaid.Load() || !a.applying.TryLock() {
		return nil
	}
	defer a.applying.Unlock()
	if !a.unsaid.Load() {
		return nil
	}
	return a.acknowledge()
}

// refuse says why something was not applied. What comes while a snapshot has been asked for may not fit, which is said
// once.
func (a *applier) refuse(revision uint64, err error) (*syncpb.Refused, error) {
	code := bundle.CodeOf(err)
	if code == bundle.CodeGap {
		if a.asked {
			return nil, nil
		}
		a.asked = true
		a.log.Warn("a change does not continue what is enforced; the whole state is asked for", "revision", revision, "cause", err)
	} else {
		a.state.refused(revision, err)
		a.log.Error("bundle refused, the last good one stays", "revision", revision, "code", code, "cause", err)
	}
	refused := &syncpb.Refused{Revision: revision, Code: string(code), Message: err.Error()}
	if errors.Is(err, rego.ErrTimeout) {
		return refused, fmt.Errorf("apply bundle %d: %w", revision, err)
	}
	return refused, nil
}

// compact asks for a snapshot in the place of one with so many changes behind it that starting from them takes longer, or
// of one that could not be kept.
func (a *applier) compact() *syncpb.Refused {
	if a.asked || !a.keeper.wants() {
		return nil
	}
	a.asked = true
	return &syncpb.Refused{Revision: a.trust.Revision, Code: string(bundle.CodeGap), Message: "a snapshot is wanted to start from"}
}

// piece takes a piece of a snapshot, and once it is whole, applies it.
func (a *applier) piece(ctx context.Context, p *syncpb.Bundle) (cut int, done bool, err error) {
	if p.GetOffset() == 0 {
		a.forget()
		if a.incoming, err = a.keeper.receive(p.GetSize()); err != nil {
			return 0, false, err
		}
	}
	if a.incoming == nil {
		return 0, false, bundle.Truncated("a snapshot begins in its middle")
	}
	if err := a.incoming.add(p); err != nil {
		a.forget()
		return 0, false, err
	}
	if !a.incoming.whole() {
		return 0, false, nil
	}
	whole := a.incoming
	a.incoming, a.asked = nil, false
	cut, err = a.whole(ctx, whole)
	return cut, true, err
}

// whole opens a snapshot, checks all of it, keeps it, and only then lets decisions and Envoy go by it.
func (a *applier) whole(ctx context.Context, in *incoming) (cut int, err error) {
	r, err := bundle.NewReader(in.reader(), a.trust)
	if err != nil {
		in.drop()
		return 0, err
	}
	if r.Snapshot.Timeline == a.trust.Timeline && r.Snapshot.Revision == a.trust.Revision && a.service.Snapshot() != nil {
		return 0, a.again(r, in)
	}
	n, err := a.open(ctx, r)
	if err != nil {
		in.drop()
		return 0, err
	}
	resources, err := a.configure(n.envoy)
	if err != nil {
		in.drop()
		return 0, err
	}
	a.keeper.keep(in, n.trust.Revision)
	return a.enforce(ctx, n, resources), nil
}

// again takes note of the very same state as is enforced, which its digest makes sure of. It is kept where that spares
// the next process a journal.
func (a *applier) again(r *bundle.Reader, in *incoming) error {
	a.state.enforce(a.trust.Timeline, a.trust.Revision, a.service.Snapshot().ActivePolicies())
	if a.keeper.current() {
		in.drop()
		return nil
	}
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			a.keeper.keep(in, a.trust.Revision)
			return nil
		}
		if err != nil {
			in.drop()
			return err
		}
	}
}

// open reads a snapshot to its end.
func (a *applier) open(ctx context.Context, r *bundle.Reader) (next, error) {
	snapshot, err := extauthz.NewSnapshot(ctx, r)
	if err != nil {
		return next{}, err
	}
	return next{
		snapshot: snapshot, change: extauthz.Change{All: true}, trust: a.trust.Enforced(r.Snapshot, r.Keys),
		envoy: r.Snapshot.Envoy, evidence: r.Evidence,
	}, nil
}

// delta opens a change of what is enforced, checks what comes of it, keeps it, and only then lets decisions and Envoy go
// by it.
func (a *applier) delta(ctx context.Context, sealed []byte) (cut int, err error) {
	current := a.service.Snapshot()
	if current == nil {
		return 0, bundle.Gap("there is no state that it could change")
	}
	n, err := a.advance(ctx, next{snapshot: current, trust: a.trust, envoy: a.envoy}, sealed)
	if err != nil {
		return 0, err
	}
	resources, err := a.configure(n.envoy)
	if err != nil {
		return 0, err
	}
	a.keeper.append(sealed, n.trust.Revision)
	return a.enforce(ctx, n, resources), nil
}

// advance gives what comes of a state by a delta.
func (a *applier) advance(ctx context.Context, from next, sealed []byte) (next, error) {
	d, keys, err := bundle.OpenDelta(sealed, from.trust)
	if err != nil {
		return next{}, err
	}
	n := next{trust: from.trust.Advanced(d, keys), envoy: from.envoy, evidence: bundle.EvidenceOf(sealed)}
	if _, changed := d.Members[bundle.MemberEnvoy]; changed {
		n.envoy = d.Head.Envoy
	}
	n.snapshot, n.change, err = from.snapshot.Apply(ctx, d, keys)
	return n, err
}

// configure gives Envoy's whole configuration, if it would fail closed; nil where it is the one that Envoy has been given.
func (a *applier) configure(configuration []byte) (*envoy.Resources, error) {
	if a.envoy != nil && bytes.Equal(configuration, a.envoy) {
		return nil, nil
	}
	catalog, err := envoy.Unmarshal(configuration)
	if err != nil {
		return nil, err
	}
	if err := envoy.ValidateCatalog(catalog); err != nil {
		return nil, fmt.Errorf("the bundle's Envoy configuration would not fail closed: %w", err)
	}
	all := envoy.Merge(a.fixed, catalog)
	if err := envoy.Validate(a.bootstrap.message, all); err != nil {
		return nil, fmt.Errorf("the bundle's Envoy configuration would not fail closed: %w", err)
	}
	return &all, nil
}

// enforce lets decisions go by a state, and Envoy by its configuration where that is another. It returns how many live
// streams have been cut.
func (a *applier) enforce(ctx context.Context, n next, resources *envoy.Resources) (cut int) {
	if a.trust.Timeline != "" && a.trust.Timeline != n.trust.Timeline {
		a.succeeded()
	}
	cut = a.service.Enforce(n.snapshot, n.change)
	a.trust, a.envoy, a.evidence = n.trust, n.envoy, n.evidence
	if resources != nil {
		if err := a.xds.Serve(ctx, *resources); err != nil {
			a.envoy = nil // the next change tries again
			a.log.Error("the bundle is enforced, but Envoy keeps its last configuration", "revision", n.trust.Revision, "cause", err)
		}
	}
	a.state.enforce(n.trust.Timeline, n.trust.Revision, n.snapshot.ActivePolicies())
	return cut
}

// load enforces what an earlier process kept. What does not open is left alone and said so: the control plane sends a new
// bundle. One of another workspace than the configured one is a mistake of whoever configured it.
func (a *applier) load(ctx context.Context) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	if err := a.resume(ctx); err != nil {
		a.log.Warn("the kept bundle is not used", "directory", a.stateDir, "code", bundle.CodeOf(err), "cause", err)
		return nil
	}
	if s := a.service.Snapshot(); s != nil && s.Workspace().Slug != a.workspace {
		return fmt.Errorf("ENTERPRISE_WORKSPACE is %q, but the gateway key and the bundle in %s are of %q", a.workspace, a.stateDir, s.Workspace().Slug)
	}
	return nil
}

// resume opens the kept snapshot and all changes behind it, and enforces what comes of them at once. A part of it would
// be a state that may permit what is revoked.
func (a *applier) resume(ctx context.Context) error {
	file, err := a.keeper.snapshot()
	if file == nil || err != nil {
		return err
	}
	defer file.Close()
	r, err := bundle.NewReader(file, a.trust)
	if err != nil {
		return err
	}
	n, err := a.open(ctx, r)
	if err != nil {
		return err
	}
	if err := a.keeper.changes(func(sealed []byte) error {
		later, err := a.advance(ctx, n, sealed)
		if err == nil {
			n = later
		}
		return err
	}); err != nil {
		return err
	}
	resources, err := a.configure(n.envoy)
	if err != nil {
		return err
	}
	n.change = extauthz.Change{All: true}
	a.enforce(ctx, n, resources)
	return nil
}

// enrolled takes what the control plane says it is, and holds it to the fingerprint in the gateway key and to what is
// enforced already.
func (a *applier) enrolled(answer *syncpb.EnrolResponse) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	keys, err := token.OpenKeySet(answer.GetKeySet(), a.trust.Root)
	if err != nil {
		return fmt.Errorf("the control plane's key set is not the one that the gateway key names: %w", err)
	}
	switch {
	case a.trust.Deployment != "" && keys.Deployment != a.trust.Deployment, a.trust.Workspace != "" && keys.Workspace != a.trust.Workspace:
		return fmt.Errorf("the control plane is another deployment than the one whose bundle is kept in %s", a.stateDir)
	case a.trust.Timeline != "" && keys.Timeline != a.trust.Timeline && !slices.Contains(keys.Succeeds, a.trust.Timeline):
		return fmt.Errorf("the control plane was restored: its timeline is %s, what is enforced is of %s", keys.Timeline, a.trust.Timeline)
	}
	a.trust.Deployment, a.trust.Workspace = keys.Deployment, keys.Workspace
	if a.trust.Timeline == "" {
		a.trust.Timeline = keys.Timeline
	}
	return nil
}

// position is the state that decisions enforce; revision 0 when there is none.
func (a *applier) position() (timeline string, revision uint64, digest []byte) {
	a.applying.Lock()
	defer a.applying.Unlock()
	return a.trust.Timeline, a.trust.Revision, a.trust.Digest
}
