package extauthz

import (
	"context"
	"errors"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// Apply gives the snapshot that comes of a delta, which has been opened for this one, and what that decides differently.
// ctx bounds the time that a changed Rego policy takes to compile. The snapshot itself stays as it is.
func (s *Snapshot) Apply(ctx context.Context, delta bundle.Delta, keys token.KeySet) (*Snapshot, Change, error) {
	return nil, Change{}, errors.New("apply delta: not of this snapshot")
}
