package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// KeepKeysUsed notes when API keys were last used: ids and times go by pairs. An earlier time than is known is no news,
// and a key that is not there is passed over.
func (t *Tx) KeepKeysUsed(ctx context.Context, ids []string, times []time.Time) error {
	err := t.q.KeepKeysUsed(ctx, query.KeepKeysUsedParams{WorkspaceID: t.workspace, Ids: ids, Times: times})
	return translate("keep when keys were used", err)
}
