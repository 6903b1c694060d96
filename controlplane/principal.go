package controlplane

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// NewPrincipal asks for a principal. Role is for users only.
type NewPrincipal struct {
	Name     string                  `json:"name"`
	Type     authority.PrincipalType `json:"principal_type"`
	Role     authority.Role          `json:"role,omitempty"`
	Metadata map[string]string       `json:"metadata"`
}

// RegisteredPrincipal is a new principal. APIKey is the first key of an agent or a service, told this once; empty for
// a user.
type RegisteredPrincipal struct {
	authority.Principal
	APIKey string `json:"api_key,omitempty"`
}

// RegisterPrincipal adds a principal.
func (s *Service) RegisterPrincipal(ctx context.Context, c Caller, n NewPrincipal) (Written[RegisteredPrincipal], error) {
	op := allowed("register_principal")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (RegisteredPrincipal, error) {
		p := authority.Principal{
			ID: authority.NewID[authority.PrincipalID](), WorkspaceID: c.workspace, Name: n.Name, Type: n.Type,
			Role: n.Role, Metadata: n.Metadata, CreatedAt: ch.at,
		}
		if p.Metadata == nil {
			p.Metadata = map[string]string{}
		}
		if err := p.Validate(); err != nil {
			return RegisteredPrincipal{}, err
		}
		if p.Role != "" {
			if err := ch.caller.principal.Role.MayChange(p.Role); err != nil {
				return RegisteredPrincipal{}, err
			}
			if err := s.room(ctx, tx, ch, QuotaMembers); err != nil {
				return RegisteredPrincipal{}, err
			}
		}
		if err := s.room(ctx, tx, ch, QuotaPrincipals); err != nil {
			return RegisteredPrincipal{}, err
		}
		if err := tx.InsertPrincipal(ctx, p); err != nil {
			return RegisteredPrincipal{}, err
		}
		ch.tell(registered(p))
		if p.Role != "" {
			_, err := ch.admit(ctx, tx, memberOf(p))
			return RegisteredPrincipal{Principal: p}, err
		}
		if p.Type == authority.User {
			return RegisteredPrincipal{Principal: p}, nil
		}
		created, err := s.addKey(ctx, tx, ch, authority.Key{Kind: authority.OfPrincipal(p.Type), Name: "first key", PrincipalID: p.ID})
		return RegisteredPrincipal{Principal: p, APIKey: created.APIKey}, err
	})
}

func registered(p authority.Principal) authority.Event {
	e := changed(authority.EventPrincipalRegistered, nil, p)
	e.PrincipalID = p.ID
	return e
}

// memberOf is a user principal as a member without its person.
func memberOf(p authority.Principal) authority.Member {
	return authority.Member{
		ID: p.ID, WorkspaceID: p.WorkspaceID, Name: p.Name, Role: p.Role, Suspended: p.Suspended, CreatedAt: p.CreatedAt,
	}
}

// PrincipalChange replaces the fields that are not nil. The type of a principal never changes, and its role is a member's.
type PrincipalChange struct {
	Name     *string            `json:"name"`
	Metadata *map[string]string `json:"metadata"`
}

// UpdatePrincipal changes a principal's name and metadata. Principals are never deleted, since mandates and events name
// them: a suspended one may do nothing.
func (s *Service) UpdatePrincipal(ctx context.Context, c Caller, id authority.PrincipalID, n PrincipalChange) (Written[authority.Principal], error) {
	op := allowed("update_principal")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Principal, error) {
		before, err := tx.Principal(ctx, id)
		if err != nil {
			return before, orNotFound("principal", err)
		}
		if err := ch.expect(before); err != nil {
			return before, err
		}
		if before.Role != "" {
			if err := ch.caller.principal.Role.MayChange(before.Role); err != nil {
				return before, err
			}
		}
		after := before
		replace(&after.Name, n.Name)
		if n.Metadata != nil {
			after.Metadata = *n.Metadata
			if after.Metadata == nil {
				after.Metadata = map[string]string{}
			}
		}
		if err := after.Validate(); err != nil {
			return before, err
		}
		if equalJSON(before, after) {
			ch.unchanged = true
			return before, nil
		}
		event := changed(authority.EventPrincipalUpdated, before, after)
		event.PrincipalID = id
		ch.tell(event)
		return after, tx.UpdatePrincipal(ctx, after)
	})
}

// PrincipalFilter narrows a list of principals; a zero field does not.
type PrincipalFilter = postgres.PrincipalFilter

// Principals lists principals.
func (s *Service) Principals(ctx context.Context, c Caller, f PrincipalFilter, p Page) (List[authority.Principal], error) {
	op := allowed("list_principals")
	return listing[authority.Principal]{
		op: op, filter: f, keys: byNameToo(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Principal, error) {
			return tx.Principals(ctx, f, page)
		},
		end: func(p authority.Principal, key postgres.Key) place {
			return placed(key, p.CreatedAt, p.Name, string(p.ID))
		},
	}.read(ctx, s, c, p)
}

// Principal finds a principal.
func (s *Service) Principal(ctx context.Context, c Caller, id authority.PrincipalID) (authority.Principal, error) {
	op := allowed("get_principal")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Principal, error) {
		p, err := tx.Principal(ctx, id)
		return p, orNotFound("principal", err)
	})
}
