package controlplane

import (
	"context"
	"fmt"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// maxClientAuthorities bounds what a gateway holds each new client certificate against.
const maxClientAuthorities = 16

// CreateClientAuthority lets certificates of an authority identify principals at the workspace's gateways. Its id,
// workspace and time of creation are made here; what is given of them does not count.
func (s *Service) CreateClientAuthority(ctx context.Context, c Caller, a authority.ClientAuthority) (Written[authority.ClientAuthority], error) {
	op := allowed("create_client_authority")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.ClientAuthority, error) {
		a := a
		a.ID, a.WorkspaceID, a.CreatedAt = authority.NewID[authority.ClientAuthorityID](), c.workspace, ch.at
		a.Bindings = append([]authority.CertificateBinding{}, a.Bindings...)
		all, err := tx.ClientAuthorities(ctx)
		if err != nil {
			return a, err
		}
		if len(all) >= maxClientAuthorities {
			return a, &authority.Error{Code: authority.CodeConflict, Message: fmt.Sprintf("a workspace has at most %d client authorities", maxClientAuthorities)}
		}
		if err := checkClientAuthority(ctx, tx, all, a); err != nil {
			return a, err
		}
		ch.tell(changed(authority.EventClientAuthorityCreated, nil, a))
		return a, tx.InsertClientAuthority(ctx, a)
	})
}

// checkClientAuthority judges an authority beside the others of its workspace.
func checkClientAuthority(ctx context.Context, tx *postgres.Tx, others []authority.ClientAuthority, a authority.ClientAuthority) error {
	if err := a.Validate(); err != nil {
		return err
	}
	if slices.ContainsFunc(others, func(o authority.ClientAuthority) bool { return o.Name == a.Name }) {
		return &authority.Error{Code: authority.CodeConflict, Field: "name", Message: fmt.Sprintf("a client authority is named %q already", a.Name)}
	}
	ids := make([]authority.PrincipalID, len(a.Bindings))
	for i, b := range a.Bindings {
		ids[i] = b.PrincipalID
	}
	known, err := tx.PrincipalsAmong(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if p, ok := known[id]; !ok || p.Type == authority.User {
			return authority.Invalid(fmt.Sprintf("bindings[%d].principal_id", i), "there is no such agent or service")
		}
	}
	return nil
}

// ClientAuthorities lists the certificate authorities, the oldest first.
func (s *Service) ClientAuthorities(ctx context.Context, c Caller) ([]authority.ClientAuthority, error) {
	return read(ctx, s, c, allowed("list_client_authorities"), func(ctx context.Context, tx *postgres.Tx) ([]authority.ClientAuthority, error) {
		return tx.ClientAuthorities(ctx)
	})
}

// ClientAuthority finds a certificate authority.
func (s *Service) ClientAuthority(ctx context.Context, c Caller, id authority.ClientAuthorityID) (authority.ClientAuthority, error) {
	return read(ctx, s, c, allowed("get_client_authority"), func(ctx context.Context, tx *postgres.Tx) (authority.ClientAuthority, error) {
		a, err := tx.ClientAuthority(ctx, id)
		return a, orNotFound("client authority", err)
	})
}

// UpdateClientAuthority replaces a certificate authority. What it vouches for no more is nobody's at a gateway from the
// moment that it enforces the revision, on connections that are open too.
func (s *Service) UpdateClientAuthority(ctx context.Context, c Caller, id authority.ClientAuthorityID, a authority.ClientAuthority) (Written[authority.ClientAuthority], error) {
	op := allowed("replace_client_authority")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.ClientAuthority, error) {
		a := a
		all, err := tx.ClientAuthorities(ctx)
		if err != nil {
			return a, err
		}
		i := slices.IndexFunc(all, func(o authority.ClientAuthority) bool { return o.ID == id })
		if i < 0 {
			return a, authority.NotFound("client authority")
		}
		before := all[i]
		if err := ch.expect(before); err != nil {
			return a, err
		}
		a.ID, a.WorkspaceID, a.CreatedAt = id, c.workspace, before.CreatedAt
		a.Bindings = append([]authority.CertificateBinding{}, a.Bindings...)
		if err := checkClientAuthority(ctx, tx, slices.Delete(all, i, i+1), a); err != nil {
			return a, err
		}
		if equalJSON(before, a) {
			ch.unchanged = true
			return before, nil
		}
		ch.tell(changed(authority.EventClientAuthorityUpdated, before, a))
		return a, tx.UpdateClientAuthority(ctx, a)
	})
}

// DeleteClientAuthority removes a certificate authority, with the same effect.
func (s *Service) DeleteClientAuthority(ctx context.Context, c Caller, id authority.ClientAuthorityID) (Written[authority.ClientAuthority], error) {
	op := allowed("delete_client_authority")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.ClientAuthority, error) {
		a, err := tx.ClientAuthority(ctx, id)
		if err != nil {
			return a, orNotFound("client authority", err)
		}
		if err := ch.expect(a); err != nil {
			return a, err
		}
		ch.tell(changed(authority.EventClientAuthorityDeleted, a, nil))
		return a, tx.DeleteClientAuthority(ctx, id)
	})
}
