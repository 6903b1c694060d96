package postgres

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertPrincipal adds a principal.
func (t *Tx) InsertPrincipal(ctx context.Context, p authority.Principal) error {
	return translate("insert principal", t.q.InsertPrincipal(ctx, query.InsertPrincipalParams(p)))
}

// Principal reads a principal.
func (t *Tx) Principal(ctx context.Context, id authority.PrincipalID) (authority.Principal, error) {
	row, err := t.q.Principal(ctx, query.PrincipalParams{WorkspaceID: t.workspace, ID: id})
	return authority.Principal(row), translate("read principal", err)
}

// PrincipalsAmong reads those of the given principals that there are.
func (t *Tx) PrincipalsAmong(ctx context.Context, ids []authority.PrincipalID) (map[authority.PrincipalID]authority.Principal, error) {
	rows, err := t.q.PrincipalsAmong(ctx, query.PrincipalsAmongParams{WorkspaceID: t.workspace, Ids: texts(ids)})
	found := make(map[authority.PrincipalID]authority.Principal, len(rows))
	for _, row := range rows {
		found[row.ID] = authority.Principal(row)
	}
	return found, translate("read principals", err)
}

// AllPrincipals reads every principal, the oldest first.
func (t *Tx) AllPrincipals(ctx context.Context) ([]authority.Principal, error) {
	rows, err := t.q.AllPrincipals(ctx, query.AllPrincipalsParams{WorkspaceID: t.workspace})
	all := make([]authority.Principal, len(rows))
	for i, row := range rows {
		all[i] = authority.Principal(row)
	}
	return all, translate("read principals", err)
}

// PrincipalFilter narrows Principals; a zero field does not.
type PrincipalFilter struct {
	NamePrefix string
	Type       authority.PrincipalType
	Suspended  *bool
	Role       authority.Role
	Created    Created
}

// Principals lists principals, by creation or by name.
func (t *Tx) Principals(ctx context.Context, f PrincipalFilter, p Page) ([]authority.Principal, error) {
	s := t.from("id, workspace_id, name, type, role, metadata, suspended, created_at", "principals").
		where(f.Type != "", "type = ?", string(f.Type)).
		where(f.Suspended != nil, "suspended = ?", f.Suspended).
		where(f.Role != "", "role = ?", string(f.Role)).
		named(f.NamePrefix).created(f.Created).page(p)
	list, err := collect[authority.Principal](ctx, t, s)
	return list, translate("list principals", err)
}

// UpdatePrincipal changes the name and the metadata of a principal.
func (t *Tx) UpdatePrincipal(ctx context.Context, p authority.Principal) error {
	err := t.q.UpdatePrincipal(ctx, query.UpdatePrincipalParams{WorkspaceID: t.workspace, ID: p.ID, Name: p.Name, Metadata: p.Metadata})
	return translate("update principal", err)
}

// SetSuspended suspends or resumes a principal.
func (t *Tx) SetSuspended(ctx context.Context, id authority.PrincipalID, suspended bool) error {
	err := t.q.SetSuspended(ctx, query.SetSuspendedParams{WorkspaceID: t.workspace, ID: id, Suspended: suspended})
	return translate("suspend or resume principal", err)
}

// texts is a list of named strings as the driver's array of text.
func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}
