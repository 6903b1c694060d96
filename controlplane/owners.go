package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// keepingOwners makes a change that may take an owner, or an owner's way in, and refuses it afterwards if it took the
// last: a workspace that no owner can enter is lost. Writers of a workspace come one after the other, so that two of them
// cannot take the last two. A way in that ends by itself does not count where there is one that lasts.
func (s *Service) keepingOwners(ctx context.Context, tx *postgres.Tx, at time.Time, apply func() error) error {
	before, err := tx.OwnersWaysIn(ctx, s.signIn.Issuer, at)
	if err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	after, err := tx.OwnersWaysIn(ctx, s.signIn.Issuer, at)
	if err != nil {
		return err
	}
	if after.Live == 0 && before.Live > 0 || after.Lasting == 0 && before.Lasting > 0 {
		return &authority.Error{
			Code:    authority.CodeConflict,
			Message: "this would leave the workspace without an owner who can come in; see first that another owner signs in or has a key that does not expire",
		}
	}
	return nil
}
