package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
	"github.com/caracal-gateway/caracal/token"
)

// InsertIssuer adds a trusted issuer.
func (t *Tx) InsertIssuer(ctx context.Context, i authority.TrustedIssuer) error {
	return translate("insert issuer", t.q.InsertIssuer(ctx, query.InsertIssuerParams(i)))
}

// Issuer reads a trusted issuer.
func (t *Tx) Issuer(ctx context.Context, id authority.TrustedIssuerID) (authority.TrustedIssuer, error) {
	row, err := t.q.Issuer(ctx, query.IssuerParams{WorkspaceID: t.workspace, ID: id})
	return authority.TrustedIssuer(row), translate("read issuer", err)
}

// AllIssuers reads every trusted issuer, the oldest first.
func (t *Tx) AllIssuers(ctx context.Context) ([]authority.TrustedIssuer, error) {
	rows, err := t.q.AllIssuers(ctx, query.AllIssuersParams{WorkspaceID: t.workspace})
	all := make([]authority.TrustedIssuer, len(rows))
	for i, row := range rows {
		all[i] = authority.TrustedIssuer(row)
	}
	return all, translate("read issuers", err)
}

// CountIssuers counts the trusted issuers.
func (t *Tx) CountIssuers(ctx context.Context) (int64, error) {
	n, err := t.q.CountIssuers(ctx, query.CountIssuersParams{WorkspaceID: t.workspace})
	return n, translate("count issuers", err)
}

// UpdateIssuer replaces all of a trusted issuer but its ids and the time of its creation.
func (t *Tx) UpdateIssuer(ctx context.Context, i authority.TrustedIssuer) error {
	err := t.q.UpdateIssuer(ctx, query.UpdateIssuerParams{
		WorkspaceID: t.workspace, ID: i.ID, Name: i.Name, Kind: i.Kind, Issuer: i.Issuer, JWKSURL: i.JWKSURL, JWKS: i.JWKS,
		CA: i.CA, PrivateAddresses: i.PrivateAddresses, Audiences: i.Audiences, Claim: i.Claim, Algorithms: i.Algorithms,
		MaxLifetimeSeconds: i.MaxLifetimeSeconds, Bindings: i.Bindings,
	})
	return translate("update issuer", err)
}

// DeleteIssuer removes a trusted issuer and its keys.
func (t *Tx) DeleteIssuer(ctx context.Context, id authority.TrustedIssuerID) error {
	err := t.q.DeleteIssuerKeys(ctx, query.DeleteIssuerKeysParams{WorkspaceID: t.workspace, IssuerID: id})
	if err != nil {
		return translate("delete keys of issuer", err)
	}
	return translate("delete issuer", t.q.DeleteIssuer(ctx, query.DeleteIssuerParams{WorkspaceID: t.workspace, ID: id}))
}

// IssuerKeys are the keys of an issuer and how fetching them goes.
type IssuerKeys struct {
	IssuerID authority.TrustedIssuerID
	Keys     []token.IssuerKey
	// FetchedAt is when the keys were last seen at the issuer, and UsableUntil when they end unless they are seen again.
	FetchedAt, UsableUntil *time.Time
	// AttemptedAt is when they were last asked for, and NextAttemptAt when they will be; nil for keys that never are.
	AttemptedAt, NextAttemptAt *time.Time
	Failure                    string // of the last attempt; empty for a success
}

// AllIssuerKeys reads the keys of every trusted issuer.
func (t *Tx) AllIssuerKeys(ctx context.Context) (map[authority.TrustedIssuerID]IssuerKeys, error) {
	rows, err := t.q.AllIssuerKeys(ctx, query.AllIssuerKeysParams{WorkspaceID: t.workspace})
	if err != nil {
		return nil, translate("read keys of issuers", err)
	}
	all := make(map[authority.TrustedIssuerID]IssuerKeys, len(rows))
	for _, row := range rows {
		k := IssuerKeys{
			IssuerID: row.IssuerID, FetchedAt: row.FetchedAt, UsableUntil: row.UsableUntil,
			AttemptedAt: row.AttemptedAt, NextAttemptAt: row.NextAttemptAt, Failure: row.Failure,
		}
		if err := json.Unmarshal(row.Keys, &k.Keys); err != nil {
			return nil, fmt.Errorf("read keys of issuer %s: %w", row.IssuerID, err)
		}
		all[row.IssuerID] = k
	}
	return all, nil
}

// PutIssuerKeys writes the keys of an issuer, in place of those it had.
func (t *Tx) PutIssuerKeys(ctx context.Context, k IssuerKeys) error {
	keys := k.Keys
	if keys == nil {
		keys = []token.IssuerKey{}
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("write keys of issuer %s: %w", k.IssuerID, err)
	}
	err = t.q.PutIssuerKeys(ctx, query.PutIssuerKeysParams{
		WorkspaceID: t.workspace, IssuerID: k.IssuerID, Keys: text, FetchedAt: k.FetchedAt, UsableUntil: k.UsableUntil,
		AttemptedAt: k.AttemptedAt, NextAttemptAt: k.NextAttemptAt, Failure: k.Failure,
	})
	return translate("write keys of issuer", err)
}

// NoteIssuerKeys writes how an attempt went that brought no other keys. It does nothing once another attempt has begun.
func (t *Tx) NoteIssuerKeys(ctx context.Context, k IssuerKeys) error {
	_, err := t.q.NoteIssuerKeys(ctx, query.NoteIssuerKeysParams{
		WorkspaceID: t.workspace, IssuerID: k.IssuerID, FetchedAt: k.FetchedAt, UsableUntil: k.UsableUntil,
		AttemptedAt: k.AttemptedAt, NextAttemptAt: k.NextAttemptAt, Failure: k.Failure,
	})
	return translate("note keys of issuer", err)
}

// Claim says who may ask for an issuer's keys.
type Claim struct {
	At       time.Time // when the attempt begins
	Due      time.Time // keys whose next attempt is later are left alone
	NotSince time.Time // so are those that were asked for after this
	Again    time.Time // when another may, should nothing be heard of this attempt
}

// ClaimIssuer reports whether the transaction's caller is the one to ask for an issuer's keys.
func (t *Tx) ClaimIssuer(ctx context.Context, id authority.TrustedIssuerID, c Claim) (bool, error) {
	n, err := t.q.ClaimIssuer(ctx, query.ClaimIssuerParams{
		WorkspaceID: t.workspace, IssuerID: id, At: c.At, Again: c.Again, Due: c.Due, NotSince: c.NotSince,
	})
	return n == 1, translate("claim issuer", err)
}

// DueIssuer is an issuer whose keys are to be fetched.
type DueIssuer struct {
	WorkspaceID authority.WorkspaceID
	IssuerID    authority.TrustedIssuerID
}

// LookUpDueIssuers finds issuers of all workspaces whose keys are to be fetched by an instant, some at a time.
func (s *Store) LookUpDueIssuers(ctx context.Context, due time.Time) ([]DueIssuer, error) {
	var all []DueIssuer
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, "SELECT workspace_id, issuer_id FROM look_up_due_issuers($1)", due)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DueIssuer])
		return err
	})
	return all, translate("look up due issuers", err)
}

// LookUpSlug finds the workspace with a slug.
func (s *Store) LookUpSlug(ctx context.Context, slug string) (authority.WorkspaceID, error) {
	var id *authority.WorkspaceID
	err := s.look(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT look_up_slug($1)", slug).Scan(&id)
	})
	if err == nil && id == nil {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return "", translate("look up slug", err)
	}
	return *id, nil
}
