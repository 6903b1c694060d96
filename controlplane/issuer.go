package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// TrustedIssuer is an issuer with how its keys stand.
type TrustedIssuer struct {
	authority.TrustedIssuer
	Keys IssuerKeys `json:"keys"`
}

// IssuerKeys say which keys of an issuer are in force, and how fetching them goes.
type IssuerKeys struct {
	KeyIDs []string `json:"key_ids"`
	// FetchedAt is when the keys were last seen at the issuer, and UsableUntil when they end unless they are seen again;
	// nil for keys that are given.
	FetchedAt     *time.Time `json:"fetched_at"`
	UsableUntil   *time.Time `json:"usable_until"`
	NextAttemptAt *time.Time `json:"next_attempt_at"`
	Failure       string     `json:"failure,omitempty"` // of the last attempt
}

func withKeys(i authority.TrustedIssuer, k postgres.IssuerKeys) TrustedIssuer {
	return TrustedIssuer{TrustedIssuer: i, Keys: IssuerKeys{
		KeyIDs: keyIDs(k.Keys), FetchedAt: k.FetchedAt, UsableUntil: k.UsableUntil, NextAttemptAt: k.NextAttemptAt, Failure: k.Failure,
	}}
}

// CreateIssuer trusts an issuer. Its ids, workspace and time of creation are made here; what is given of them and of its
// keys' state does not count. Keys that are not given are fetched within seconds while Run runs.
func (s *Service) CreateIssuer(ctx context.Context, c Caller, n TrustedIssuer) (Written[TrustedIssuer], error) {
	return write(ctx, s, c, allowed("create_issuer"), func(ctx context.Context, tx *postgres.Tx, ch *change) (TrustedIssuer, error) {
		i := n.WithDefaults()
		i.ID, i.WorkspaceID, i.CreatedAt = authority.NewID[authority.TrustedIssuerID](), c.workspace, ch.at
		if err := s.room(ctx, tx, ch, QuotaIssuers); err != nil {
			return n, err
		}
		keys, err := s.checkIssuer(ctx, tx, &i, ch.at)
		if err != nil {
			return n, err
		}
		ch.tell(changed(authority.EventIssuerCreated, nil, i))
		if err := tx.InsertIssuer(ctx, i); err != nil {
			return n, err
		}
		return withKeys(i, keys), tx.PutIssuerKeys(ctx, keys)
	})
}

// checkIssuer judges an issuer among those of its workspace, and answers the keys that it begins with.
func (s *Service) checkIssuer(ctx context.Context, tx *postgres.Tx, i *authority.TrustedIssuer, at time.Time) (postgres.IssuerKeys, error) {
	keys := postgres.IssuerKeys{IssuerID: i.ID, NextAttemptAt: &at}
	if err := i.Validate(); err != nil {
		return keys, err
	}
	for n, p := range i.PrivateAddresses {
		if !s.lendsOut(p) {
			return keys, authority.Invalid(fmt.Sprintf("private_addresses[%d]", n), "%s is in no network that the operator lets issuers be in: the setting issuer-networks of the control plane", p)
		}
	}
	all, err := tx.AllIssuers(ctx)
	if err != nil {
		return keys, err
	}
	for _, other := range all {
		switch {
		case other.ID == i.ID:
		case other.Name == i.Name:
			return keys, &authority.Error{Code: authority.CodeConflict, Field: "name", Message: fmt.Sprintf("an issuer is named %q already", i.Name)}
		case other.Issuer == i.Issuer:
			return keys, &authority.Error{Code: authority.CodeConflict, Field: "issuer", Message: fmt.Sprintf("%q is trusted already, as %q", i.Issuer, other.Name)}
		}
	}
	if err := checkBindings(ctx, tx, i.Bindings); err != nil {
		return keys, err
	}
	if i.Pinned() {
		if keys.Keys, err = token.ParseIssuerKeys(i.JWKS, i.Kind, i.Algorithms); err != nil {
			return keys, authority.Invalid("jwks", "%s", err)
		}
		// The issuer keeps the public keys that it is verified by, in their one spelling, and nothing else of the text.
		if i.JWKS, err = json.Marshal(map[string]any{"keys": keys.Keys}); err != nil {
			return keys, fmt.Errorf("write pinned keys: %w", err)
		}
		keys.NextAttemptAt = nil
	}
	return keys, nil
}

// lendsOut reports whether workspaces may have the control plane connect to a private range: what it can reach is the
// operator's, and anybody who owns a workspace could look around in it.
func (s *Service) lendsOut(p netip.Prefix) bool {
	return slices.ContainsFunc(s.issuerNetworks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

// checkBindings checks that tokens are bound to workloads: people sign in by themselves.
func checkBindings(ctx context.Context, tx *postgres.Tx, bindings []authority.IssuerBinding) error {
	ids := make([]authority.PrincipalID, len(bindings))
	for n, b := range bindings {
		ids[n] = b.PrincipalID
	}
	found, err := tx.PrincipalsAmong(ctx, ids)
	if err != nil {
		return err
	}
	for n, id := range ids {
		field := fmt.Sprintf("bindings[%d].principal_id", n)
		if p, ok := found[id]; !ok {
			return authority.Invalid(field, "there is no such principal")
		} else if p.Type == authority.User {
			return authority.Invalid(field, "a token of an issuer stands for an agent or a service")
		}
	}
	return nil
}

// Issuers lists the trusted issuers, the oldest first.
func (s *Service) Issuers(ctx context.Context, c Caller) ([]TrustedIssuer, error) {
	return read(ctx, s, c, allowed("list_issuers"), func(ctx context.Context, tx *postgres.Tx) ([]TrustedIssuer, error) {
		issuers, err := tx.AllIssuers(ctx)
		if err != nil {
			return nil, err
		}
		keys, err := tx.AllIssuerKeys(ctx)
		all := make([]TrustedIssuer, len(issuers))
		for n, i := range issuers {
			all[n] = withKeys(i, keys[i.ID])
		}
		return all, err
	})
}

// Issuer finds a trusted issuer.
func (s *Service) Issuer(ctx context.Context, c Caller, id authority.TrustedIssuerID) (TrustedIssuer, error) {
	return read(ctx, s, c, allowed("get_issuer"), func(ctx context.Context, tx *postgres.Tx) (TrustedIssuer, error) {
		i, keys, err := issuerOf(ctx, tx, id)
		return withKeys(i, keys), err
	})
}

func issuerOf(ctx context.Context, tx *postgres.Tx, id authority.TrustedIssuerID) (authority.TrustedIssuer, postgres.IssuerKeys, error) {
	i, err := tx.Issuer(ctx, id)
	if err != nil {
		return i, postgres.IssuerKeys{}, orNotFound("issuer", err)
	}
	keys, err := tx.AllIssuerKeys(ctx)
	return i, keys[id], err
}

// UpdateIssuer replaces a trusted issuer. Keys that came from another place than they would now are dropped at once.
func (s *Service) UpdateIssuer(ctx context.Context, c Caller, id authority.TrustedIssuerID, n TrustedIssuer) (Written[TrustedIssuer], error) {
	return write(ctx, s, c, allowed("replace_issuer"), func(ctx context.Context, tx *postgres.Tx, ch *change) (TrustedIssuer, error) {
		before, kept, err := issuerOf(ctx, tx, id)
		if err != nil {
			return n, err
		}
		if err := ch.expect(withKeys(before, kept)); err != nil {
			return n, err
		}
		i := n.WithDefaults()
		i.ID, i.WorkspaceID, i.CreatedAt = id, c.workspace, before.CreatedAt
		keys, err := s.checkIssuer(ctx, tx, &i, ch.at)
		if err != nil {
			return n, err
		}
		if equalJSON(before, i) {
			ch.unchanged = true
			return withKeys(before, kept), nil
		}
		ch.tell(changed(authority.EventIssuerUpdated, before, i))
		if err := tx.UpdateIssuer(ctx, i); err != nil {
			return n, err
		}
		if !i.Pinned() && sameSource(before, i) {
			if sameWay(before, i) {
				return withKeys(i, kept), nil
			}
			// They are to be read anew, and good until then.
			keys = kept
			keys.AttemptedAt, keys.NextAttemptAt = nil, &ch.at
		}
		return withKeys(i, keys), tx.PutIssuerKeys(ctx, keys)
	})
}

// sameSource reports whether two issuers have their keys from the same place.
func sameSource(a, b authority.TrustedIssuer) bool {
	return a.Kind == b.Kind && a.Issuer == b.Issuer && a.JWKSURL == b.JWKSURL && a.Pinned() == b.Pinned()
}

// sameWay reports whether keys of the same place are fetched and read alike.
func sameWay(a, b authority.TrustedIssuer) bool {
	return a.CA == b.CA && equalJSON(a.PrivateAddresses, b.PrivateAddresses) && equalJSON(a.Algorithms, b.Algorithms)
}

// DeleteIssuer ends the trust in an issuer and tells what it was.
func (s *Service) DeleteIssuer(ctx context.Context, c Caller, id authority.TrustedIssuerID) (Written[TrustedIssuer], error) {
	return write(ctx, s, c, allowed("delete_issuer"), func(ctx context.Context, tx *postgres.Tx, ch *change) (TrustedIssuer, error) {
		i, keys, err := issuerOf(ctx, tx, id)
		if err != nil {
			return TrustedIssuer{}, err
		}
		if err := ch.expect(withKeys(i, keys)); err != nil {
			return TrustedIssuer{}, err
		}
		ch.tell(changed(authority.EventIssuerDeleted, i, nil))
		return withKeys(i, keys), tx.DeleteIssuer(ctx, id)
	})
}

// trusted reads the issuers of the transaction's workspace as they are verified with: what only concerns the fetching of
// their keys is left out.
func trusted(ctx context.Context, tx *postgres.Tx) ([]token.TrustedIssuer, error) {
	issuers, err := tx.AllIssuers(ctx)
	if err != nil || len(issuers) == 0 {
		return nil, err
	}
	keys, err := tx.AllIssuerKeys(ctx)
	all := make([]token.TrustedIssuer, len(issuers))
	for n, i := range issuers {
		i.JWKS, i.JWKSURL, i.CA, i.PrivateAddresses = nil, "", "", nil
		all[n] = token.TrustedIssuer{TrustedIssuer: i, Keys: keys[i.ID].Keys}
	}
	return all, err
}
