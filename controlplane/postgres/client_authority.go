package postgres

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertClientAuthority adds a certificate authority.
func (t *Tx) InsertClientAuthority(ctx context.Context, a authority.ClientAuthority) error {
	return translate("insert client authority", t.q.InsertClientAuthority(ctx, query.InsertClientAuthorityParams(a)))
}

// ClientAuthority reads a certificate authority.
func (t *Tx) ClientAuthority(ctx context.Context, id authority.ClientAuthorityID) (authority.ClientAuthority, error) {
	row, err := t.q.ClientAuthority(ctx, query.ClientAuthorityParams{WorkspaceID: t.workspace, ID: id})
	return authority.ClientAuthority(row), translate("read client authority", err)
}

// ClientAuthorities reads all certificate authorities, the oldest first.
func (t *Tx) ClientAuthorities(ctx context.Context) ([]authority.ClientAuthority, error) {
	rows, err := t.q.ClientAuthorities(ctx, query.ClientAuthoritiesParams{WorkspaceID: t.workspace})
	var all []authority.ClientAuthority
	for _, row := range rows {
		all = append(all, authority.ClientAuthority(row))
	}
	return all, translate("read client authorities", err)
}

// UpdateClientAuthority replaces all of a certificate authority but its id and the time of its creation.
func (t *Tx) UpdateClientAuthority(ctx context.Context, a authority.ClientAuthority) error {
	err := t.q.UpdateClientAuthority(ctx, query.UpdateClientAuthorityParams{
		WorkspaceID: t.workspace, ID: a.ID, Name: a.Name, Roots: a.Roots, Intermediates: a.Intermediates, Bindings: a.Bindings,
	})
	return translate("update client authority", err)
}

// DeleteClientAuthority removes a certificate authority.
func (t *Tx) DeleteClientAuthority(ctx context.Context, id authority.ClientAuthorityID) error {
	err := t.q.DeleteClientAuthority(ctx, query.DeleteClientAuthorityParams{WorkspaceID: t.workspace, ID: id})
	return translate("delete client authority", err)
}
