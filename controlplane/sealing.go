package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// maxSurveys bounds how many states a replica reads as a whole at once.
const maxSurveys = 2

// survey reads a state as a whole, when its turn comes.
func (s *Service) survey(ctx context.Context, w authority.WorkspaceID, look func(context.Context, *postgres.Tx) error) error {
	select {
	case s.surveys <- struct{}{}:
		defer func() { <-s.surveys }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.store.Survey(ctx, w, look)
}

// sealWhole seals the state that the database has, for all who need it whole. The image comes to that state on the way,
// so that its steps lead on from there.
func (i *image) sealWhole(ctx context.Context) (*Whole, error) {
	release, err := i.hold(ctx)
	if err != nil {
		return nil, err
	}
	holds := true
	yield := func() {
		if holds {
			release()
		}
		holds = false
	}
	defer yield()
	var whole *Whole
	err = i.service.survey(ctx, i.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		if err := i.comeTo(ctx, tx); err != nil {
			return err
		}
		p := *i.picture
		yield()
		var err error
		if whole, err = i.service.sealAll(ctx, tx, p); err != nil {
			return err
		}
		if !bytes.Equal(whole.at.Digest, p.at.Digest) {
			return i.disagree(ctx, whole, p.at)
		}
		return nil
	})
	return whole, err
}

// comeTo brings the picture to the state of a transaction.
func (i *image) comeTo(ctx context.Context, tx *postgres.Tx) error {
	if i.picture != nil {
		err := i.follow(ctx, tx)
		if !errors.Is(err, postgres.ErrForgotten) {
			return err
		}
	}
	return i.begin(ctx, tx)
}

// disagree gives up a picture that is not that of the state that the database has: it is made anew.
func (i *image) disagree(ctx context.Context, whole *Whole, at Position) error {
	i.service.log.Error("the state told by changes is not the state; it is told as a whole", "workspace", i.workspace, "revision", at.Revision)
	release, err := i.hold(ctx)
	if err != nil {
		return err
	}
	i.picture = nil
	release()
	i.mu.Lock()
	i.at, i.steps = Position{}, steps{}
	i.mu.Unlock()
	return errors.Join(fmt.Errorf("revision %d is told otherwise than it is", at.Revision), whole.Close())
}

// sealAll seals the state of a transaction.
func (s *Service) sealAll(ctx context.Context, tx *postgres.Tx, p picture) (*Whole, error) {
	now := s.now()
	b, err := bundle.NewBuilder(bundle.Snapshot{
		Format: bundle.Format, Deployment: p.keys.set.Deployment, Timeline: p.at.Timeline, Revision: p.at.Revision, IssuedAt: now, Head: p.head,
	})
	if err != nil {
		return nil, err
	}
	if err := tellAll(ctx, tx, p.head.Workspace, p.asOf, building(b)); err != nil {
		return nil, err
	}
	digest := b.Digest()
	at := Position{Timeline: p.at.Timeline, Revision: p.at.Revision, Digest: digest[:]}
	return newWhole(at, func(w io.Writer) error {
		_, err := p.keys.sealing(now, func(key token.SigningKey, keySet string) ([]byte, error) { return nil, b.Write(w, key, keySet) })
		return err
	})
}
