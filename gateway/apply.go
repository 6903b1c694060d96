package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/syncpb"
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
	kept      bundle.File
	log       *slog.Logger

	applying sync.Mutex // one bundle at a time
	trust    bundle.Trust
	pieces   []byte
}

// begin forgets what came of a snapshot that did not come whole: a stream begins.
func (a *applier) begin() {
	a.applying.Lock()
	defer a.applying.Unlock()
	a.pieces = nil
}

// take applies a piece of a snapshot, or a delta. It says what is enforced by now, or why that which came is not: nothing
// of the two as long as pieces are missing. Both are said where it is enforced and a snapshot is wanted still. An error is
// a busy host's, which the bundle is not at fault for: the stream is to end, and the control plane sends it again on the
// next.
func (a *applier) take(ctx context.Context, m *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused, error) {
	piece := m.GetBundle()
	if piece == nil {
		return nil, nil, nil
	}
	a.pieces = append(a.pieces, piece.GetSealed()...)
	if uint64(len(a.pieces)) < piece.GetSize() {
		return nil, nil, nil
	}
	sealed := bundle.Sealed(a.pieces)
	a.pieces = nil
	err := a.apply(ctx, sealed)
	if err == nil {
		return &syncpb.Acknowledged{Revision: sealed.Revision(), Digest: sealed.Digest()}, nil, nil
	}
	if ctx.Err() != nil {
		return nil, nil, nil //nolint:nilerr // the gateway leaves, and enforces nothing more
	}
	code := string(bundle.CodeOf(err))
	a.state.refused(piece.GetRevision(), err)
	a.log.Error("bundle refused, the last good one stays", "revision", piece.GetRevision(), "code", code, "cause", err)
	refused := &syncpb.Refused{Revision: piece.GetRevision(), Code: code, Message: err.Error()}
	if errors.Is(err, rego.ErrTimeout) {
		return nil, refused, fmt.Errorf("apply bundle %d: %w", piece.GetRevision(), err)
	}
	return nil, refused, nil
}

// load enforces the bundle that an earlier process kept. One that does not open is left alone and said so: the control
// plane sends a new one. One of another workspace than the configured one is a mistake of whoever configured it.
func (a *applier) load(ctx context.Context) error {
	sealed, err := a.kept.Read()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = a.apply(ctx, sealed)
	}
	if err != nil {
		a.log.Warn("the kept bundle is not used", "path", a.kept.Path, "code", bundle.CodeOf(err), "cause", err)
		return nil
	}
	if kept := a.service.Snapshot().Workspace().Slug; kept != a.workspace {
		return fmt.Errorf("ENTERPRISE_WORKSPACE is %q, but the gateway key and the bundle in %s are of %q", a.workspace, a.stateDir, kept)
	}
	return nil
}

// enrolled takes what the control plane says it is, and holds it to the fingerprint in the gateway key and to what is
// enforced already.
func (a *applier) enrolled(answer *syncpb.EnrolResponse) error {
	keys, err := token.OpenKeySet(answer.GetKeySet(), a.trust.Root)
	if err != nil {
		return fmt.Errorf("the control plane's key set is not the one that the gateway key names: %w", err)
	}
	a.applying.Lock()
	defer a.applying.Unlock()
	switch {
	case a.trust.Deployment != "" && keys.Deployment != a.trust.Deployment, a.trust.Workspace != "" && keys.Workspace != a.trust.Workspace:
		return fmt.Errorf("the control plane is another deployment than the one whose bundle is kept in %s", a.stateDir)
	case a.trust.Timeline != "" && keys.Timeline != a.trust.Timeline:
		return fmt.Errorf("the control plane was restored: its timeline is %s, what is enforced is of %s", keys.Timeline, a.trust.Timeline)
	}
	a.trust.Deployment, a.trust.Workspace, a.trust.Timeline = keys.Deployment, keys.Workspace, keys.Timeline
	return nil
}

// position is the state that decisions enforce; revision 0 when there is none.
func (a *applier) position() (timeline string, revision uint64, digest []byte) {
	a.applying.Lock()
	defer a.applying.Unlock()
	return a.trust.Timeline, a.trust.Revision, a.trust.Digest
}

// apply opens a bundle, checks all of it, keeps it, and only then lets decisions and Envoy go by it. When it returns
// without an error, decisions enforce the bundle's revision.
func (a *applier) apply(ctx context.Context, sealed bundle.Sealed) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	content, keys, err := bundle.Open(sealed, a.trust)
	if err != nil {
		return err
	}
	if content.Revision == a.trust.Revision {
		// The very same state, which Open has made sure of; what was refused meanwhile is over.
		a.state.enforce(content.Timeline, content.Revision, content.ActivePolicies)
		return nil
	}
	snapshot, err := extauthz.NewSnapshot(ctx, content, keys)
	if err != nil {
		return err
	}
	catalog, err := envoy.Unmarshal(content.Envoy)
	if err != nil {
		return err
	}
	if err := envoy.ValidateCatalog(catalog); err != nil {
		return fmt.Errorf("the bundle's Envoy configuration would not fail closed: %w", err)
	}
	all := envoy.Merge(a.fixed, catalog)
	if err := envoy.Validate(a.bootstrap.message, all); err != nil {
		return fmt.Errorf("the bundle's Envoy configuration would not fail closed: %w", err)
	}
	a.keep(sealed, content.Revision)
	a.service.Enforce(snapshot, extauthz.Change{All: true})
	if err := a.xds.Serve(ctx, all); err != nil {
		a.log.Error("the bundle is enforced, but Envoy keeps its last configuration", "revision", content.Revision, "cause", err)
	}
	a.trust = a.trust.Enforced(content, keys)
	a.state.enforce(content.Timeline, content.Revision, content.ActivePolicies)
	return nil
}

// keep makes the bundle the one that the next process starts from. A full disk must not hold up a revocation; it only
// costs the start without a control plane, because an older bundle, which may permit what was revoked since, is not left
// in the place of one that was acknowledged.
func (a *applier) keep(sealed bundle.Sealed, revision uint64) {
	err := a.kept.Write(sealed)
	if err == nil {
		return
	}
	if removed := os.Remove(a.kept.Path); !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	a.log.Error("the bundle is enforced but not kept", "revision", revision, "cause", err)
}
