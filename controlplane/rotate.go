package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// How long a key goes on beside its successor: at most, and where the caller does not say.
const (
	MaxOverlap     = 7 * 24 * time.Hour
	DefaultOverlap = time.Hour
)

// Rotation asks for a successor of an API key.
type Rotation struct {
	// OverlapSeconds is for how long the old key goes on; nil means DefaultOverlap, 0 that it ends at once.
	OverlapSeconds *int64 `json:"overlap_seconds"`
}

// RotatedKey is the successor of a key, told this once, and the key that it replaces, with the end that it was given.
type RotatedKey struct {
	CreatedKey
	Replaced authority.Key `json:"replaced"`
}

func (r Rotation) overlap() (time.Duration, error) {
	if r.OverlapSeconds == nil {
		return DefaultOverlap, nil
	}
	if *r.OverlapSeconds < 0 || *r.OverlapSeconds > int64(MaxOverlap/time.Second) {
		return 0, authority.Invalid("overlap_seconds", "is 0 to %d", int64(MaxOverlap/time.Second))
	}
	return time.Duration(*r.OverlapSeconds) * time.Second, nil
}

// RotateKey makes a successor of a key, with the same terms and the same span of life, and ends the key after the overlap,
// or earlier where it ends earlier by itself. A key has one successor.
func (s *Service) RotateKey(ctx context.Context, c Caller, id authority.KeyID, r Rotation) (Written[RotatedKey], error) {
	written, err := write(ctx, s, c, allowed("rotate_key"), func(ctx context.Context, tx *postgres.Tx, ch *change) (RotatedKey, error) {
		overlap, err := r.overlap()
		if err != nil {
			return RotatedKey{}, err
		}
		old, err := tx.Key(ctx, id)
		if err != nil {
			return RotatedKey{}, orNotFound("key", err)
		}
		if err := ch.expect(old); err != nil {
			return RotatedKey{}, err
		}
		if err := ch.mayRotate(ctx, tx, old); err != nil {
			return RotatedKey{}, err
		}
		var rotated RotatedKey
		err = s.keepingOwners(ctx, tx, ch.at, func() error {
			rotated, err = s.succeed(ctx, tx, ch, old, ch.at.Add(overlap))
			return err
		})
		return rotated, err
	})
	if err != nil {
		return written, err
	}
	return written, s.nameWorkspaces(ctx, c, &written.Value.Key, &written.Value.Replaced)
}

// mayRotate reports as an error why the caller may not have the successor of a key.
func (ch *change) mayRotate(ctx context.Context, tx *postgres.Tx, k authority.Key) error {
	if k.RevokedAt != nil || ended(k.ExpiresAt, ch.at) {
		return &authority.Error{Code: authority.CodeConflict, Message: "the key has ended; create another"}
	}
	// A second successor would inherit the end that the first rotation gave the key, and not its span of life.
	successor, err := tx.SuccessorOfKey(ctx, k.ID)
	if err != nil {
		return err
	}
	if successor != "" {
		return &authority.Error{Code: authority.CodeConflict, Message: "the key was rotated already: rotate its successor " + string(successor) + ", or create another"}
	}
	if k.Kind == authority.KeyGateway {
		return nil
	}
	holder, err := tx.Principal(ctx, k.PrincipalID)
	if err != nil {
		return err
	}
	for _, w := range k.Workspaces {
		if k.PrincipalID != ch.caller.principal.ID || !ch.caller.opens(authority.WorkspaceID(w)) {
			return authority.Forbidden("a key for several workspaces is rotated by its member, with a credential for all of them")
		}
	}
	if err := ch.mayEnd(ctx, tx, k); err != nil {
		return err
	}
	if k.ID != ch.caller.key {
		if err := ch.boundLikeItsMaker(ctx, tx, k); err != nil {
			return err
		}
	}
	return ch.caller.mayHand(k, holder)
}

// succeed writes the successor and the end of a key.
func (s *Service) succeed(ctx context.Context, tx *postgres.Tx, ch *change, old authority.Key, end time.Time) (RotatedKey, error) {
	successor := old
	successor.Replaces, successor.LastUsedAt = old.ID, nil
	if old.ExpiresAt != nil {
		expires := ch.at.Add(old.ExpiresAt.Sub(old.CreatedAt))
		successor.ExpiresAt = &expires
	}
	created, err := s.addKey(ctx, tx, ch, successor)
	if err != nil {
		return RotatedKey{}, err
	}
	replaced := old
	if old.ExpiresAt == nil || end.Before(*old.ExpiresAt) {
		replaced.ExpiresAt = &end
	}
	e := keyEvent(authority.EventKeyRotated, &old, &replaced)
	e.Detail["successor"] = created.ID
	ch.tell(e)
	return RotatedKey{CreatedKey: created, Replaced: replaced}, tx.EndKey(ctx, old.ID, *replaced.ExpiresAt)
}
