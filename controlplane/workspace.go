package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// NewWorkspace asks for a workspace.
type NewWorkspace struct {
	Name        string `json:"name"`
	Slug        string `json:"slug"`
	Description string `json:"description"`
}

// CreatedWorkspace is a new workspace with its first member, and that member's key, which is told this once.
type CreatedWorkspace struct {
	authority.Workspace
	Owner  authority.Principal `json:"owner"`
	APIKey string              `json:"api_key"`
}

// ownerName is what the first member of a workspace is called.
const ownerName = "owner"

// CreateWorkspace makes a workspace with its keys, its owner and the ready destinations. The deployment's setup key may,
// for a new person, and whoever owns a workspace, who then owns the new one too.
func (s *Service) CreateWorkspace(ctx context.Context, c Caller, n NewWorkspace) (Written[CreatedWorkspace], error) {
	op := allowed("create_workspace")
	none := Written[CreatedWorkspace]{}
	if err := s.mayFound(ctx, &c, op); err != nil {
		return none, err
	}
	if err := (&change{caller: c}).unconditional(); err != nil {
		return none, err
	}
	at := s.now()
	w := authority.Workspace{
		ID: authority.NewID[authority.WorkspaceID](), Slug: n.Slug, Name: n.Name, Description: n.Description,
		Settings: authority.DefaultSettings(), Revision: 1, CreatedAt: at,
	}
	if err := w.Validate(); err != nil {
		return none, err
	}
	if replay, err := s.recallWorkspace(ctx, c, op, n.Slug); err != nil || replay != nil {
		return *orEmpty(replay), s.tell(ctx, err)
	}
	name := ownerName
	if c.principal.ID != "" {
		name = c.principal.Name
	}
	founder, err := newFounder(w, name, at)
	if err != nil {
		return none, err
	}
	// What happens here is told in the workspace that is made, where the founder acts as the one that it becomes.
	c.workspace = w.ID
	if c.person != "" {
		c.principal = founder.owner
	}
	created := CreatedWorkspace{Workspace: w, Owner: founder.owner, APIKey: founder.secret.Reveal()}
	var timeline string
	err = s.store.Write(ctx, w.ID, func(ctx context.Context, tx *postgres.Tx) error {
		ch := &change{caller: c, at: at, revision: w.Revision}
		timeline = tx.State().Timeline
		if founder.key.Workspaces, err = c.carried(ctx, tx, at); err != nil {
			return err
		}
		if c.person != "" {
			if err := s.roomForPerson(ctx, tx, c.person); err != nil {
				return err
			}
		}
		if err := s.found(ctx, tx, ch, w, founder); err != nil {
			return err
		}
		if err := tx.AppendEvents(ctx, ch.events); err != nil {
			return err
		}
		return remember(ctx, s, tx, ch, op, created)
	})
	if errors.Is(err, postgres.ErrDuplicate) {
		err = slugTaken(n.Slug)
	}
	if err != nil {
		return none, s.tell(ctx, err)
	}
	c.trail.leave(authority.State{Timeline: timeline, Workspace: w.ID, Revision: w.Revision})
	return Written[CreatedWorkspace]{Value: created, Revision: w.Revision}, nil
}

// mayFound reports as an error why the caller may not make a workspace. A person without a workspace at hand counts as
// an owner if it owns any.
func (s *Service) mayFound(ctx context.Context, c *Caller, op operation) error {
	if c.kind == authority.KeyMember && c.principal.ID == "" {
		all, err := s.enterable(ctx, *c)
		if err != nil {
			return err
		}
		owns := slices.IndexFunc(all, func(m postgres.Membership) bool { return m.Role == authority.RoleOwner })
		if owns < 0 {
			return authority.Forbidden("a workspace is made by whoever owns one, or with the deployment's setup key")
		}
		if *c, err = s.move(ctx, *c, all[owns]); err != nil {
			return err
		}
	}
	return s.permit(ctx, *c, op)
}

// carried are the workspaces that the first key of a new workspace opens beside it: those that the key opens which made
// it, so that one key goes on being enough. A key that is bound in time or place carries nothing into one that is not.
func (c Caller) carried(ctx context.Context, tx *postgres.Tx, at time.Time) ([]string, error) {
	if c.key == "" {
		return nil, nil
	}
	proof, err := tx.LookUpKey(ctx, c.key)
	if err != nil {
		return nil, err
	}
	if !stands(proof, c.address, at) {
		return nil, errUnauthenticated
	}
	if proof.ExpiresAt != nil || len(proof.AllowedNetworks) > 0 || len(proof.Workspaces) >= maxKeyWorkspaces {
		return nil, nil
	}
	opened := []string{string(proof.WorkspaceID)}
	for _, w := range proof.Workspaces {
		opened = append(opened, string(w))
	}
	return opened, nil
}

// founder is the first member of a workspace.
type founder struct {
	owner  authority.Principal
	key    authority.Key
	secret token.APIKey
}

func newFounder(w authority.Workspace, name string, at time.Time) (founder, error) {
	secret, err := token.NewAPIKey(authority.KeyMember, "")
	if err != nil {
		return founder{}, fmt.Errorf("make owner key: %w", err)
	}
	owner := authority.Principal{
		ID: authority.NewID[authority.PrincipalID](), WorkspaceID: w.ID, Name: name, Type: authority.User,
		Role: authority.RoleOwner, Metadata: map[string]string{}, CreatedAt: at,
	}
	key := authority.Key{
		ID: secret.ID, WorkspaceID: w.ID, Kind: authority.KeyMember, Name: "first key", PrincipalID: owner.ID, CreatedAt: at,
	}
	return founder{owner, key, secret}, nil
}

// found writes a new workspace and what it begins with.
func (s *Service) found(ctx context.Context, tx *postgres.Tx, ch *change, w authority.Workspace, f founder) error {
	if err := tx.InsertWorkspace(ctx, w); err != nil {
		return err
	}
	ch.tell(authority.Event{Type: authority.EventWorkspaceCreated, Detail: map[string]any{"slug": w.Slug, "name": w.Name}})
	for _, key := range s.newKeys(w.ID, ch.at) {
		if err := tx.InsertSigningKey(ctx, key); err != nil {
			return err
		}
	}
	if err := s.addInspectionAuthority(ctx, tx, w); err != nil {
		return err
	}
	if err := tx.InsertPrincipal(ctx, f.owner); err != nil {
		return err
	}
	ch.tell(registered(f.owner))
	member := memberOf(f.owner)
	member.PersonID = ch.caller.person
	if _, err := ch.admit(ctx, tx, member); err != nil {
		return err
	}
	hash := f.secret.Hash()
	if err := tx.InsertKey(ctx, f.key, hash[:]); err != nil {
		return err
	}
	ch.tell(keyEvent(authority.EventKeyCreated, nil, &f.key))
	for _, d := range catalog.Initial() {
		d.ID, d.WorkspaceID, d.CreatedAt = authority.NewID[authority.DestinationID](), w.ID, ch.at
		d = storable(d.WithDefaults(), nil)
		if err := tx.InsertDestination(ctx, d); err != nil {
			return err
		}
		ch.tell(destinationEvent(authority.EventDestinationCreated, d))
	}
	return nil
}

// recallWorkspace answers a repeated creation as the first time. It looks in the workspace that has the slug now.
func (s *Service) recallWorkspace(ctx context.Context, c Caller, op operation, slug string) (*Written[CreatedWorkspace], error) {
	all, err := s.store.LookUpWorkspaces(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(w authority.Workspace) bool { return w.Slug == slug })
	if i < 0 {
		return nil, nil
	}
	if c.once.key == "" {
		return nil, slugTaken(slug)
	}
	c.workspace = all[i].ID
	var replay *Written[CreatedWorkspace]
	err = s.store.Read(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		replay, err = recall[CreatedWorkspace](ctx, s, tx, &change{caller: c, at: s.now()}, op)
		return err
	})
	if err == nil && replay == nil {
		err = slugTaken(slug)
	}
	return replay, err
}

func slugTaken(slug string) error {
	return &authority.Error{Code: authority.CodeConflict, Field: "slug", Message: fmt.Sprintf("the slug %q is taken", slug)}
}

func orEmpty[T any](p *T) *T {
	if p == nil {
		p = new(T)
	}
	return p
}

// Workspaces lists those that the caller may enter; for the deployment's setup key, every one.
func (s *Service) Workspaces(ctx context.Context, c Caller) ([]authority.Workspace, error) {
	if c.kind == KeySetup {
		all, err := s.store.LookUpWorkspaces(ctx)
		return all, s.tell(ctx, err)
	}
	if c.kind != authority.KeyMember || c.home != "" && len(c.elsewhere) == 0 {
		w, err := s.here(ctx, c, allowed("list_workspaces"))
		return []authority.Workspace{w}, err
	}
	memberships, err := s.enterable(ctx, c)
	if err != nil {
		return nil, err
	}
	all := make([]authority.Workspace, 0, len(memberships))
	for _, m := range memberships {
		there, err := s.move(ctx, c, m)
		if err != nil {
			return nil, err
		}
		w, err := s.here(ctx, there, allowed("list_workspaces"))
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// here is the workspace that the caller is in.
func (s *Service) here(ctx context.Context, c Caller, op operation) (authority.Workspace, error) {
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Workspace, error) {
		return tx.Workspace(ctx)
	})
}

// Workspace finds a workspace by its slug.
func (s *Service) Workspace(ctx context.Context, c Caller, slug string) (authority.Workspace, error) {
	if c.kind != KeySetup {
		there, err := s.Enter(ctx, c, slug)
		if err != nil {
			return authority.Workspace{}, err
		}
		return s.here(ctx, there, allowed("get_workspace"))
	}
	all, err := s.store.LookUpWorkspaces(ctx)
	if err != nil {
		return authority.Workspace{}, s.tell(ctx, err)
	}
	for _, w := range all {
		if w.Slug == slug {
			return w, nil
		}
	}
	return authority.Workspace{}, authority.NotFound("workspace")
}

// Revision is the workspace's present revision.
func (s *Service) Revision(ctx context.Context, c Caller) (uint64, error) {
	return read(ctx, s, c, allowed("read_revision"), func(ctx context.Context, tx *postgres.Tx) (uint64, error) {
		w, err := tx.Workspace(ctx)
		return w.Revision, err
	})
}

// equalJSON reports whether two values are written alike.
func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
