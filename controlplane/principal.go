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
	op := operation{name: "register_principal", right: administer}
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
		if err := tx.InsertPrincipal(ctx, p); err != nil {
			return RegisteredPrincipal{}, err
		}
		ch.tell(registered(p))
		if p.Type == authority.User {
			return RegisteredPrincipal{Principal: p}, nil
		}
		created, err := s.addKey(ctx, tx, ch, authority.Key{Kind: authority.KeyAgent, Name: "first key", PrincipalID: p.ID})
		return RegisteredPrincipal{Principal: p, APIKey: created.APIKey}, err
	})
}

func registered(p authority.Principal) authority.Event {
	return authority.Event{
		Type: authority.EventPrincipalRegistered, PrincipalID: p.ID,
		Detail: map[string]any{"name": p.Name, "principal_type": p.Type, "role": p.Role, "metadata": p.Metadata},
	}
}

// PrincipalFilter narrows a list of principals; a zero field does not.
type PrincipalFilter = postgres.PrincipalFilter

// Principals lists principals.
func (s *Service) Principals(ctx context.Context, c Caller, f PrincipalFilter, p Page) (List[authority.Principal], error) {
	op := operation{name: "list_principals", right: observe}
	return list(ctx, s, c, op, p, func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Principal, error) {
		return tx.Principals(ctx, f, page)
	}, func(p authority.Principal) place { return at(p.CreatedAt, 0, string(p.ID)) })
}

// Principal finds a principal.
func (s *Service) Principal(ctx context.Context, c Caller, id authority.PrincipalID) (authority.Principal, error) {
	op := operation{name: "read_principal", right: observe}
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Principal, error) {
		p, err := tx.Principal(ctx, id)
		return p, orNotFound("principal", err)
	})
}

// SuspendPrincipal ends what a principal may do until it is resumed: every mandate that rests on it is denied, and its
// keys open nothing.
func (s *Service) SuspendPrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (Written[authority.Principal], error) {
	return s.setSuspended(ctx, c, operation{name: "suspend_principal", right: administer}, id, true)
}

// ResumePrincipal undoes a suspension.
func (s *Service) ResumePrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (Written[authority.Principal], error) {
	return s.setSuspended(ctx, c, operation{name: "resume_principal", right: administer}, id, false)
}

func (s *Service) setSuspended(ctx context.Context, c Caller, op operation, id authority.PrincipalID, suspended bool) (Written[authority.Principal], error) {
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Principal, error) {
		p, err := tx.Principal(ctx, id)
		if err != nil {
			return p, orNotFound("principal", err)
		}
		if p.Suspended == suspended {
			ch.unchanged = true
			return p, nil
		}
		// Whoever suspends stays active, so that a workspace never loses its last owner.
		if p.ID == c.principal.ID {
			return p, &authority.Error{Code: authority.CodeConflict, Message: "an owner does not suspend itself; another owner can"}
		}
		p.Suspended = suspended
		event := authority.EventPrincipalResumed
		if suspended {
			event = authority.EventPrincipalSuspended
		}
		ch.tell(authority.Event{Type: event, PrincipalID: id})
		return p, tx.SetSuspended(ctx, id, suspended)
	})
}
