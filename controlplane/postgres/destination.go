package postgres

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// InsertDestination adds a destination.
func (t *Tx) InsertDestination(ctx context.Context, d authority.Destination) error {
	return translate("insert destination", t.q.InsertDestination(ctx, query.InsertDestinationParams(d)))
}

// Destination reads a destination.
func (t *Tx) Destination(ctx context.Context, id authority.DestinationID) (authority.Destination, error) {
	row, err := t.q.Destination(ctx, query.DestinationParams{WorkspaceID: t.workspace, ID: id})
	return authority.Destination(row), translate("read destination", err)
}

// AllDestinations reads the whole catalog, the oldest first.
func (t *Tx) AllDestinations(ctx context.Context) ([]authority.Destination, error) {
	rows, err := t.q.AllDestinations(ctx, query.AllDestinationsParams{WorkspaceID: t.workspace})
	all := make([]authority.Destination, len(rows))
	for i, row := range rows {
		all[i] = authority.Destination(row)
	}
	return all, translate("read destinations", err)
}

// DestinationFilter narrows Destinations; a zero field does not.
type DestinationFilter struct {
	NamePrefix string
	Host       string
	Created    Created
}

// Destinations lists destinations, by creation or by name.
func (t *Tx) Destinations(ctx context.Context, f DestinationFilter, p Page) ([]authority.Destination, error) {
	s := t.from("id, workspace_id, name, host, ports, tls, ca, connect_to, addresses, credential, "+
		"max_duration_seconds, encoded_slash, rules, created_at, client_certificate, tunnel, base_path", "destinations").
		where(f.Host != "", "host = ?", f.Host).
		named(f.NamePrefix).created(f.Created).page(p)
	list, err := collect[authority.Destination](ctx, t, s)
	return list, translate("list destinations", err)
}

// UpdateDestination replaces all of a destination but its ids and the time of its creation.
func (t *Tx) UpdateDestination(ctx context.Context, d authority.Destination) error {
	err := t.q.UpdateDestination(ctx, query.UpdateDestinationParams{
		WorkspaceID: t.workspace, ID: d.ID, Name: d.Name, Host: d.Host, Ports: d.Ports, TLS: d.TLS, CA: d.CA,
		ConnectTo: d.ConnectTo, Addresses: d.Addresses, Credential: d.Credential,
		MaxDurationSeconds: d.MaxDurationSeconds, EncodedSlash: d.EncodedSlash, Rules: d.Rules,
		ClientCertificate: d.ClientCertificate, Tunnel: d.Tunnel, BasePath: d.BasePath,
	})
	return translate("update destination", err)
}

// DeleteDestination removes a destination.
func (t *Tx) DeleteDestination(ctx context.Context, id authority.DestinationID) error {
	err := t.q.DeleteDestination(ctx, query.DeleteDestinationParams{WorkspaceID: t.workspace, ID: id})
	return translate("delete destination", err)
}
