package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// imageRetry is how long an image that could not be renewed waits before it tries again.
	imageRetry = time.Second
	// imageKept is for how long an image is kept once no gateway follows it.
	imageKept = 2 * time.Minute
)

// image is what one replica knows of what the gateways of a workspace are told: where that stands, and a digest of each
// item, by which it finds what a change changes. All gateways of the workspace that are connected to the replica are fed
// from the one image.
type image struct {
	service   *Service
	workspace authority.WorkspaceID
	poke      chan struct{} // asks for a look at the feeds

	turn    chan struct{} // is taken by who moves the picture on, and guards it
	picture *picture      // nil until it is made
	looked  time.Time     // when the last look at the database began

	mu      sync.Mutex // guards what follows
	at      Position   // of the picture; zero until there is one
	steps   steps
	whole   *Whole // the snapshot that was sealed last; nil for none
	sealing bool   // one is being sealed
	feeds   map[*Feed]struct{}
	stop    context.CancelFunc // nil while no gateway follows
}

// picture is a state as it is told, without its lists.
type picture struct {
	at    Position
	asOf  time.Time
	head  bundle.Head
	keys  workspaceKeys
	index *bundle.Index
}

func newImage(s *Service, w authority.WorkspaceID) *image {
	return &image{service: s, workspace: w, poke: make(chan struct{}, 1), turn: make(chan struct{}, 1), feeds: map[*Feed]struct{}{}}
}

// run keeps the image at the present while gateways follow it.
func (i *image) run(ctx context.Context) {
	wake, cancel := i.service.changes.subscribe(i.workspace)
	defer cancel()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-i.poke:
		case <-retry.C:
		}
		if err := i.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			i.service.log.Warn("state for gateways not read; it is tried again", "workspace", i.workspace, "cause", err)
			retry.Reset(imageRetry)
		}
		if err := i.help(ctx); err != nil && ctx.Err() == nil {
			i.service.log.Warn("gateways that are behind not helped; it is tried again", "workspace", i.workspace, "cause", err)
			retry.Reset(imageRetry)
		}
	}
}

// hold takes the turn, until the returned function is called.
func (i *image) hold(ctx context.Context) (release func(), err error) {
	select {
	case i.turn <- struct{}{}:
		return func() { <-i.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look brings the image to the state that the database has, unless somebody has done so since an instant.
func (i *image) look(ctx context.Context, since time.Time) error {
	release, err := i.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if i.looked.After(since) {
		return nil
	}
	began := time.Now()
	err = postgres.ErrForgotten
	if i.picture != nil {
		err = i.service.store.Read(ctx, i.workspace, i.follow)
	}
	switch {
	case errors.Is(err, postgres.ErrForgotten):
		err = i.service.survey(ctx, i.workspace, i.begin)
	case errors.Is(err, errPutBack):
		err = i.service.notePutBack(ctx, i.workspace, i.picture.at)
	}
	if err == nil {
		i.looked = began
	}
	return err
}

// follow moves the picture on by what has changed; ErrForgotten where that is not known, and errPutBack where the database
// has never been what the picture shows.
func (i *image) follow(ctx context.Context, tx *postgres.Tx) error {
	p := i.picture
	w, err := tx.Workspace(ctx)
	if err != nil {
		return err
	}
	deployment, err := i.service.deploymentOf(ctx, tx)
	if err != nil {
		return err
	}
	if deployment.Timeline != p.at.Timeline {
		return postgres.ErrForgotten
	}
	if err := p.remains(ctx, tx, w.Revision); err != nil || w.Revision == p.at.Revision {
		return err
	}
	changes, err := tx.ChangesSince(ctx, p.at.Revision, w.Revision, maxChanges)
	if err != nil {
		return err
	}
	if toldWhole(changes) {
		return postgres.ErrForgotten
	}
	next := *p
	if next.asOf, err = tx.RevisedAt(ctx); err != nil {
		return err
	}
	if err := i.renewKeys(ctx, tx, changes, &next); err != nil {
		return err
	}
	next.head.Workspace = w
	edits, err := readEdits(ctx, tx, changes, span{p.asOf, next.asOf}, &next.head)
	if err != nil {
		return err
	}
	delta, err := p.index.Delta(edits)
	if err != nil {
		return fmt.Errorf("tell change: %w", err)
	}
	next.at = Position{Timeline: p.at.Timeline, Revision: w.Revision, Digest: delta.Digest[:]}
	i.picture = &next
	i.publish(&next, i.seal(delta, p.at, &next))
	return nil
}

// errPutBack says that a database has never been what was read from it before.
var errPutBack = errors.New("the database was put back to an earlier state")

// remains reports as an error that the revision of the picture is none that the database has had; ErrForgotten where it
// cannot tell. One that was put back may have come to another state under the same number, at another time.
func (p *picture) remains(ctx context.Context, tx *postgres.Tx, present uint64) error {
	var taken time.Time
	var err error
	switch {
	case present < p.at.Revision:
		return errPutBack
	case present == p.at.Revision:
		taken, err = tx.RevisedAt(ctx)
	default:
		taken, err = tx.RevisionTime(ctx, p.at.Revision)
	}
	if err == nil && !taken.Equal(p.asOf) {
		err = errPutBack
	}
	return err
}

// toldWhole reports whether changes are of a kind that is told with the whole state.
func toldWhole(changes []postgres.Changed) bool {
	return slices.ContainsFunc(changes, func(c postgres.Changed) bool { return c.Kind == postgres.ChangedEverything })
}

// renewKeys reads the keys again if they changed.
func (i *image) renewKeys(ctx context.Context, tx *postgres.Tx, changes []postgres.Changed, next *picture) (err error) {
	if slices.ContainsFunc(changes, func(c postgres.Changed) bool { return c.Kind == postgres.ChangedSigningKey }) {
		next.keys, err = i.service.openKeys(ctx, tx, i.workspace)
	}
	return err
}

// seal completes a delta and seals it. One that is too large, or cannot be sealed, is none: the gateways are sent the
// whole state.
func (i *image) seal(d bundle.Delta, from Position, to *picture) *step {
	now := i.service.now()
	d.Deployment, d.Workspace, d.Timeline, d.IssuedAt = to.keys.set.Deployment, i.workspace, to.at.Timeline, now
	d.From, d.Revision = from.Revision, to.at.Revision
	sealed, err := to.keys.sealing(now, func(key token.SigningKey, keySet string) ([]byte, error) {
		return bundle.SealDelta(d, key, keySet)
	})
	if err != nil {
		if !errors.Is(err, bundle.ErrDeltaTooLarge) {
			i.service.log.Error("delta not sealed", "workspace", i.workspace, "revision", d.Revision, "cause", err)
		}
		return nil
	}
	return &step{from: from, to: to.at, sealed: sealed}
}

// sealing signs with the bundle key that signs at an instant, and the key set that vouches for it.
func (k workspaceKeys) sealing(now time.Time, sign func(token.SigningKey, string) ([]byte, error)) ([]byte, error) {
	signer, err := k.signer(token.PurposeBundle, now)
	if err != nil {
		return nil, err
	}
	keySet, err := token.SealKeySet(k.root, k.set)
	if err != nil {
		return nil, err
	}
	return sign(signer, keySet)
}

// begin makes the picture anew from all that there is.
func (i *image) begin(ctx context.Context, tx *postgres.Tx) error {
	p, err := i.service.draw(ctx, tx, i.workspace)
	if err != nil {
		return err
	}
	i.picture = p
	i.publish(p, nil)
	return nil
}

// draw makes the picture of a workspace from all that there is.
func (s *Service) draw(ctx context.Context, tx *postgres.Tx, w authority.WorkspaceID) (*picture, error) {
	p := &picture{}
	var err error
	if p.keys, err = s.openKeys(ctx, tx, w); err != nil {
		return nil, err
	}
	if p.asOf, err = tx.RevisedAt(ctx); err != nil {
		return nil, err
	}
	if p.head, err = readHead(ctx, tx); err != nil {
		return nil, err
	}
	if p.index, err = bundle.NewIndex(bundle.Snapshot{Head: p.head}); err != nil {
		return nil, fmt.Errorf("index head: %w", err)
	}
	to, finish := indexing(p.index)
	if err := errors.Join(tellAll(ctx, tx, p.head.Workspace, p.asOf, to), finish()); err != nil {
		return nil, err
	}
	digest := p.index.Digest()
	p.at = Position{Timeline: p.keys.set.Timeline, Revision: p.head.Workspace.Revision, Digest: digest[:]}
	return p, nil
}

// publish lets the feeds go on to a picture.
func (i *image) publish(p *picture, by *step) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.at = p.at
	if by != nil {
		i.steps.add(*by)
	}
	for f := range i.feeds {
		f.stir()
	}
}

// nudge asks for a look at the feeds.
func (i *image) nudge() {
	select {
	case i.poke <- struct{}{}:
	default:
	}
}

// help makes what the feeds need that no step leads on: a step from where they are, if it is known what has changed
// since, or else the whole state.
func (i *image) help(ctx context.Context) error {
	for _, from := range i.stranded() {
		by, err := i.bridge(ctx, from)
		if err != nil {
			return err
		}
		i.mu.Lock()
		if by != nil {
			i.steps.add(*by)
		}
		for f := range i.feeds {
			if f.given.is(from) && !f.needsWhole {
				f.needsWhole = by == nil
				f.stir()
			}
		}
		i.mu.Unlock()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.Revision == 0 || i.sealing || !i.wantsWhole() {
		return nil
	}
	i.sealing = true
	go i.seals(ctx)
	return nil
}

// stranded are the positions of feeds from which no step leads on.
func (i *image) stranded() []Position {
	i.mu.Lock()
	defer i.mu.Unlock()
	seen := map[standpoint]bool{}
	var all []Position
	for f := range i.feeds {
		key := f.given.standpoint()
		if _, leads := i.steps.from[key]; leads || f.needsWhole || seen[key] || i.at.Revision == 0 || i.at.is(f.given) || i.isBehind(f.given) {
			continue
		}
		seen[key] = true
		all = append(all, f.given)
	}
	return all
}

// isBehind reports whether a gateway is beyond what this database has, which is no reason to bring it back.
func (i *image) isBehind(p Position) bool {
	return p.Timeline == i.at.Timeline && p.Revision > i.at.Revision
}

// fewBytes are steps that are always worth sending after a snapshot that is there already, in bytes: some twenty.
const fewBytes = 64 << 10

// suits reports whether the snapshot that was sealed last serves a feed that needs one: steps lead on from it that are not
// more than the snapshot itself, each of which every gateway would acknowledge, and it is no older than what the gateway
// may enforce already.
func (i *image) suits(f *Feed) bool {
	if i.whole == nil || f.given.Timeline == i.whole.at.Timeline && f.given.Revision > i.whole.at.Revision {
		return false
	}
	size, leads := i.steps.leads(i.whole.at, i.at)
	return leads && size <= max(i.whole.size, fewBytes)
}

// wantsWhole reports whether a feed needs a snapshot that there is not.
func (i *image) wantsWhole() bool {
	for f := range i.feeds {
		if f.needsWhole && !i.suits(f) && !i.isBehind(f.given) {
			return true
		}
	}
	return false
}

// seals has the whole state be sealed once, for all who need it by then.
func (i *image) seals(ctx context.Context) {
	began := time.Now()
	whole, err := i.sealWhole(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sealing = false
	if err != nil {
		if ctx.Err() == nil {
			i.service.log.Warn("snapshot not sealed; it is tried again", "workspace", i.workspace, "cause", err)
			time.AfterFunc(imageRetry, i.nudge)
		}
		return
	}
	if i.whole != nil {
		_ = i.whole.Close() // those who still send it have it open
	}
	i.whole = whole
	i.service.log.Info("snapshot sealed", "workspace", i.workspace, "revision", whole.at.Revision, "bytes", whole.size, "took", time.Since(began))
	for f := range i.feeds {
		f.stir()
	}
}

// bridge is a step from a position to the present one, made of what has changed since; nil where that is not known.
func (i *image) bridge(ctx context.Context, from Position) (*step, error) {
	release, err := i.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if i.picture == nil || len(from.Digest) != len(bundle.Digest{}) {
		return nil, nil
	}
	var by *step
	err = i.service.store.Read(ctx, i.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		if err := i.follow(ctx, tx); err != nil {
			return err
		}
		p := i.picture
		if from.Timeline != p.at.Timeline || from.Revision >= p.at.Revision {
			return postgres.ErrForgotten
		}
		edits, err := since(ctx, tx, from.Revision, p)
		if err != nil {
			return err
		}
		delta, err := p.index.Since(bundle.Digest(from.Digest), edits)
		if err != nil {
			return err
		}
		if by = i.seal(delta, from, p); by != nil {
			by.claimed = true
		}
		return nil
	})
	if errors.Is(err, postgres.ErrForgotten) {
		return nil, nil
	}
	return by, err
}

// since reads how that is in a picture which may have changed after a revision.
func since(ctx context.Context, tx *postgres.Tx, revision uint64, p *picture) (bundle.Edits, error) {
	began, err := tx.RevisionTime(ctx, revision)
	if err != nil {
		return bundle.Edits{}, err
	}
	changes, err := tx.ChangesSince(ctx, revision, p.at.Revision, maxChanges)
	if err != nil {
		return bundle.Edits{}, err
	}
	if toldWhole(changes) {
		return bundle.Edits{}, postgres.ErrForgotten
	}
	head := p.head
	return readEdits(ctx, tx, changes, span{began, p.asOf}, &head)
}
