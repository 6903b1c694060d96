package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caracal-gateway/caracal/authority"
)

// LiveScope is what a mandate covers that holds or will hold.
type LiveScope struct {
	MandateID authority.MandateID
	SubjectID authority.PrincipalID
	Resources []authority.ResourcePattern
	Actions   authority.Actions
}

// LiveScopes gives every mandate that is neither revoked nor over at an instant, one at a time, in no order.
func (t *Tx) LiveScopes(ctx context.Context, at time.Time, give func(LiveScope)) error {
	rows, err := t.tx.Query(ctx, "SELECT id, subject_id, resource_scope, action_scope FROM mandates "+
		"WHERE workspace_id = $1 AND NOT revoked AND valid_until > $2", string(t.workspace), at)
	if err != nil {
		return translate("read live scopes", err)
	}
	var s LiveScope
	_, err = pgx.ForEachRow(rows, []any{&s.MandateID, &s.SubjectID, &s.Resources, &s.Actions}, func() error {
		give(s)
		s.Resources, s.Actions = nil, nil // what was given is not written over
		return nil
	})
	return translate("read live scopes", err)
}
