package controlplane

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Enter moves the caller into the workspace with a slug. One that it may not enter is not found, whether it exists or
// not. A caller may enter the workspace that it is in, and a member each in which the same person is an active member and
// for which its key is good.
func (s *Service) Enter(ctx context.Context, c Caller, slug string) (Caller, error) {
	if slug != "" && slug == c.slug {
		return c, nil
	}
	all, err := s.enterable(ctx, c)
	if err != nil {
		return Caller{}, err
	}
	i := slices.IndexFunc(all, func(m postgres.Membership) bool { return m.Slug == slug })
	if i < 0 {
		return Caller{}, authority.NotFound("workspace")
	}
	return s.move(ctx, c, all[i])
}

// EnterHolding moves the caller into that of its workspaces which holds the thing that an id names. A caller whose
// workspaces do not hold it stays where it is, and finds there that there is no such thing.
func (s *Service) EnterHolding(ctx context.Context, c Caller, id string) (Caller, error) {
	if c.kind != authority.KeyMember || c.home != "" && len(c.elsewhere) == 0 {
		return c, nil
	}
	all, err := s.enterable(ctx, c)
	if err != nil {
		return Caller{}, err
	}
	among := make([]authority.WorkspaceID, len(all))
	for i, m := range all {
		among[i] = m.WorkspaceID
	}
	holder, err := s.store.LookUpHolder(ctx, id, among)
	if errors.Is(err, postgres.ErrNotFound) && c.workspace == "" {
		return Caller{}, authority.NotFound(nounOf(id))
	}
	if errors.Is(err, postgres.ErrNotFound) || err == nil && holder == c.workspace {
		return c, nil
	}
	if err != nil {
		return Caller{}, s.tell(ctx, err)
	}
	return s.move(ctx, c, all[slices.Index(among, holder)])
}

// enterable are the workspaces that a member may enter with its key or its session; none for everybody else.
func (s *Service) enterable(ctx context.Context, c Caller) ([]postgres.Membership, error) {
	if c.kind != authority.KeyMember || c.person == "" {
		return nil, nil
	}
	if err := c.active(); err != nil {
		return nil, err
	}
	all, err := s.store.LookUpMemberships(ctx, c.person)
	if err != nil {
		return nil, s.tell(ctx, err)
	}
	return slices.DeleteFunc(all, func(m postgres.Membership) bool { return !c.opens(m.WorkspaceID) }), nil
}

// opens reports whether the caller's credential is good for a workspace, if the person is a member there.
func (c Caller) opens(w authority.WorkspaceID) bool {
	return c.key == "" || w == c.home || slices.Contains(c.elsewhere, w)
}

func (s *Service) move(ctx context.Context, c Caller, to postgres.Membership) (Caller, error) {
	c.workspace = to.WorkspaceID
	c, err := s.withPrincipal(ctx, c, to.PrincipalID)
	if err != nil {
		return Caller{}, s.tell(ctx, orNotFound("workspace", err))
	}
	if !c.isMember() {
		return Caller{}, authority.NotFound("workspace")
	}
	return c, nil
}

// nounOf is what an id names, in the words in which the operations on it say that there is none.
func nounOf(id string) string {
	prefix, _, _ := strings.Cut(id, "_")
	switch prefix {
	case "prn":
		return "principal"
	case "pol":
		return "policy"
	case "mdt":
		return "mandate"
	case "dst":
		return "destination"
	case "rgo":
		return "Rego version"
	case "key":
		return "key"
	case "cau":
		return "client authority"
	case "sgk":
		return "signing key"
	case "gtw":
		return "gateway"
	case "iss":
		return "issuer"
	case "rcp":
		return "receipt"
	case "evt", "dec":
		return "event"
	}
	return "path"
}
