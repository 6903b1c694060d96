package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	maxKeyName = 200 // bytes
	// maxKeyWorkspaces is how many workspaces beyond its own a key opens.
	maxKeyWorkspaces = 100
)

// NewKey asks for an API key. PrincipalID is who the key acts for, of the type that the kind is for; nobody for a
// gateway's.
type NewKey struct {
	Kind        authority.KeyKind     `json:"kind"`
	Name        string                `json:"name"`
	PrincipalID authority.PrincipalID `json:"principal_id"`
	// Role caps what a member's key may do; empty leaves all that the member may.
	Role authority.Role `json:"role"`
	// Workspaces are the slugs of those beyond its own that a member's key opens. Only members make such keys, for
	// themselves.
	Workspaces []string `json:"workspaces"`
	// AllowedNetworks are where the key may be used from, as 192.0.2.0/24 or an address; none means anywhere.
	AllowedNetworks []string `json:"allowed_networks"`
	// ExpiresAt ends the key; nil means that only a revocation does.
	ExpiresAt *time.Time `json:"expires_at"`
	// SingleUse makes a gateway's key one that enrols one process only.
	SingleUse bool `json:"single_use"`
}

// CreatedKey is a new API key, told this once.
type CreatedKey struct {
	authority.Key
	APIKey string `json:"api_key"`
}

// CreateKey makes an API key. Nobody makes one that may do more than he may himself.
func (s *Service) CreateKey(ctx context.Context, c Caller, n NewKey) (Written[CreatedKey], error) {
	op := allowed("create_key")
	if err := s.permit(ctx, c, op); err != nil {
		return Written[CreatedKey]{}, err
	}
	elsewhere, err := s.named(ctx, c, n)
	if err != nil {
		return Written[CreatedKey]{}, err
	}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (CreatedKey, error) {
		k, err := n.terms(ch.at)
		if err != nil {
			return CreatedKey{}, err
		}
		holder, err := holderOf(ctx, tx, n)
		if err != nil {
			return CreatedKey{}, err
		}
		k.Workspaces = elsewhere
		if err := ch.caller.mayHand(k, holder); err != nil {
			return CreatedKey{}, err
		}
		if err := ch.boundLikeItsMaker(ctx, tx, k); err != nil {
			return CreatedKey{}, err
		}
		created, err := s.addKey(ctx, tx, ch, k)
		created.Workspaces = append([]string{}, n.Workspaces...)
		return created, err
	})
}

// terms are those of the key as they are kept, but for its workspaces.
func (n NewKey) terms(now time.Time) (authority.Key, error) {
	k := authority.Key{Kind: n.Kind, Name: n.Name, PrincipalID: n.PrincipalID, Role: n.Role, SingleUse: n.SingleUse}
	if n.Name == "" || len(n.Name) > maxKeyName || strings.ContainsFunc(n.Name, unprintable) {
		return k, authority.Invalid("name", "is 1 to %d printable bytes", maxKeyName)
	}
	if !slices.Contains(authority.KeyKinds(), n.Kind) {
		return k, authority.Invalid("kind", "is one of member, agent, service, gateway")
	}
	if ended(n.ExpiresAt, now) {
		return k, authority.Invalid("expires_at", "lies in the past")
	}
	if n.SingleUse && n.Kind != authority.KeyGateway {
		return k, authority.Invalid("single_use", "is for the key of a gateway")
	}
	if n.Role != "" && n.Kind != authority.KeyMember {
		return k, authority.Invalid("role", "is for the key of a member")
	}
	if n.Role != "" {
		if _, err := authority.ParseRole(string(n.Role)); err != nil {
			return k, err
		}
	}
	if n.ExpiresAt != nil {
		expires := n.ExpiresAt.UTC().Truncate(time.Microsecond)
		k.ExpiresAt = &expires
	}
	var err error
	k.AllowedNetworks, err = authority.ParseNetworks(n.AllowedNetworks)
	return k, authority.Within("allowed_networks", err)
}

// named finds the workspaces beyond its own that a key is to open. Whoever asks opens them himself.
func (s *Service) named(ctx context.Context, c Caller, n NewKey) ([]string, error) {
	if len(n.Workspaces) == 0 {
		return nil, nil
	}
	if n.Kind != authority.KeyMember || c.kind != authority.KeyMember || n.PrincipalID != c.principal.ID {
		return nil, authority.Invalid("workspaces", "a key for several workspaces is a member's own, which nobody else makes")
	}
	if len(n.Workspaces) > maxKeyWorkspaces {
		return nil, authority.Invalid("workspaces", "are at most %d", maxKeyWorkspaces)
	}
	all, err := s.enterable(ctx, c)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(n.Workspaces))
	for i, slug := range n.Workspaces {
		at := slices.IndexFunc(all, func(m postgres.Membership) bool { return m.Slug == slug })
		if at < 0 || all[at].WorkspaceID == c.workspace || slices.Contains(ids, string(all[at].WorkspaceID)) {
			return nil, authority.Invalid(fmt.Sprintf("workspaces[%d]", i), "is no other workspace that the caller may enter, or is named twice")
		}
		ids = append(ids, string(all[at].WorkspaceID))
	}
	return ids, nil
}

func unprintable(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }

// holderOf finds the principal of a key, which is one that a key of its kind is for; zero for a gateway's.
func holderOf(ctx context.Context, tx *postgres.Tx, n NewKey) (authority.Principal, error) {
	var none authority.Principal
	if n.Kind == authority.KeyGateway {
		if n.PrincipalID != "" {
			return none, authority.Invalid("principal_id", "a gateway's key belongs to no principal")
		}
		return none, nil
	}
	if n.PrincipalID == "" {
		return none, authority.Invalid("principal_id", "is missing: whom the key acts for")
	}
	p, err := tx.Principal(ctx, n.PrincipalID)
	if errors.Is(err, postgres.ErrNotFound) {
		return none, authority.Invalid("principal_id", "there is no such principal")
	}
	if err != nil {
		return none, err
	}
	if authority.OfPrincipal(p.Type) != n.Kind {
		return none, authority.Invalid("principal_id", "a key of the kind %s is not for a principal of the type %s", n.Kind, p.Type)
	}
	if n.Kind == authority.KeyMember && p.Role == "" {
		return none, authority.Invalid("principal_id", "this user is no member: give it a role first")
	}
	return p, nil
}

// mayHand reports as an error why the caller may not give the holder a key with these terms: it would let whoever has the
// key do what the caller may not.
func (c Caller) mayHand(k authority.Key, holder authority.Principal) error {
	if k.Kind != authority.KeyMember {
		return nil
	}
	given := holder.Role.Within(k.Role)
	if c.principal.Role.Within(given) != given {
		return authority.Forbidden("a key with the role %s may do more than its maker, who has the role %s", given, c.principal.Role)
	}
	// Its holder may be anything in the other workspaces, where the caps alone say what the two keys leave.
	most, own := authority.RoleOwner.Within(k.Role), authority.RoleOwner.Within(c.limit)
	if len(k.Workspaces) > 0 && own.Within(most) != most {
		return authority.Forbidden("a key for several workspaces has no wider role than the key that it is made with, which has the role %s", own)
	}
	return nil
}

// boundLikeItsMaker reports as an error that a member's key would be good for longer, or from more places, than the key
// that it is made with: whoever has a key for an hour does not keep what it opens.
func (ch *change) boundLikeItsMaker(ctx context.Context, tx *postgres.Tx, k authority.Key) error {
	if k.Kind != authority.KeyMember || ch.caller.key == "" {
		return nil
	}
	own, err := tx.LookUpKey(ctx, ch.caller.key)
	if err != nil {
		return err
	}
	if own.ExpiresAt != nil && (k.ExpiresAt == nil || k.ExpiresAt.After(*own.ExpiresAt)) {
		return authority.Forbidden("the key that this is made with ends at %s: a member's key that it makes ends no later", own.ExpiresAt.Format(time.RFC3339))
	}
	if !authority.NetworksWithin(k.AllowedNetworks, own.AllowedNetworks) {
		return authority.Forbidden("the key that this is made with is bound to networks: a member's key that it makes is bound to them too")
	}
	return nil
}

// addKey makes the secret of a key and writes its hash.
func (s *Service) addKey(ctx context.Context, tx *postgres.Tx, ch *change, k authority.Key) (CreatedKey, error) {
	var root token.Fingerprint
	if k.Kind == authority.KeyGateway {
		keys, err := s.openKeys(ctx, tx, ch.caller.workspace)
		if err != nil {
			return CreatedKey{}, err
		}
		root = keys.root.Fingerprint()
	}
	secret, err := token.NewAPIKey(k.Kind, root)
	if err != nil {
		return CreatedKey{}, fmt.Errorf("make key: %w", err)
	}
	k.ID, k.WorkspaceID, k.CreatedAt = secret.ID, ch.caller.workspace, ch.at
	if err := s.room(ctx, tx, ch, QuotaKeys); err != nil {
		return CreatedKey{}, err
	}
	hash := secret.Hash()
	if err := tx.InsertKey(ctx, k, hash[:]); err != nil {
		return CreatedKey{}, err
	}
	ch.tell(keyEvent(authority.EventKeyCreated, nil, &k))
	return CreatedKey{Key: k, APIKey: secret.Reveal()}, nil
}

// keyEvent tells of a key. Which other workspaces it opens is not this workspace's to know.
func keyEvent(t authority.EventType, before, after *authority.Key) authority.Event {
	e := changed(t, keyRecord(before), keyRecord(after))
	if after != nil {
		e.PrincipalID = after.PrincipalID
	}
	return e
}

func keyRecord(k *authority.Key) any {
	if k == nil {
		return nil
	}
	record := *k
	record.Workspaces = nil
	return record
}

// KeyFilter narrows a list of keys; a zero field does not.
type KeyFilter = postgres.KeyFilter

// Keys lists API keys; the keys themselves are not kept.
func (s *Service) Keys(ctx context.Context, c Caller, f KeyFilter, p Page) (List[authority.Key], error) {
	op := allowed("list_keys")
	l, err := listing[authority.Key]{
		op: op, filter: f, keys: byNameToo(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Key, error) {
			return tx.Keys(ctx, f, s.now(), page)
		},
		end: func(k authority.Key, key postgres.Key) place { return placed(key, k.CreatedAt, k.Name, string(k.ID)) },
	}.read(ctx, s, c, p)
	if err != nil {
		return l, err
	}
	all := make([]*authority.Key, len(l.Items))
	for i := range l.Items {
		all[i] = &l.Items[i]
	}
	return l, s.nameWorkspaces(ctx, c, all...)
}

// Key finds an API key; the key itself is not kept.
func (s *Service) Key(ctx context.Context, c Caller, id authority.KeyID) (authority.Key, error) {
	k, err := read(ctx, s, c, allowed("get_key"), func(ctx context.Context, tx *postgres.Tx) (authority.Key, error) {
		k, err := tx.Key(ctx, id)
		return k, orNotFound("key", err)
	})
	if err != nil {
		return k, err
	}
	return k, s.nameWorkspaces(ctx, c, &k)
}

// nameWorkspaces puts slugs in the place of the ids of workspaces that keys open. Which they are is for the member to
// know; others of its workspace see none.
func (s *Service) nameWorkspaces(ctx context.Context, c Caller, keys ...*authority.Key) error {
	var slugs map[string]string
	for _, k := range keys {
		ids := k.Workspaces
		k.Workspaces = []string{}
		if len(ids) == 0 || c.person == "" || k.PrincipalID != c.principal.ID {
			continue
		}
		if slugs == nil {
			all, err := s.store.LookUpMemberships(ctx, c.person)
			if err != nil {
				return s.tell(ctx, err)
			}
			slugs = make(map[string]string, len(all))
			for _, m := range all {
				slugs[string(m.WorkspaceID)] = m.Slug
			}
		}
		for _, id := range ids {
			if slug, ok := slugs[id]; ok {
				k.Workspaces = append(k.Workspaces, slug)
			}
		}
	}
	return nil
}

// RevokeKey ends an API key. Access tokens that were exchanged for it run out by themselves.
func (s *Service) RevokeKey(ctx context.Context, c Caller, id authority.KeyID) (Written[authority.Key], error) {
	op := allowed("revoke_key")
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Key, error) {
		k, err := tx.Key(ctx, id)
		if err != nil {
			return k, orNotFound("key", err)
		}
		if err := ch.expect(k); err != nil {
			return k, err
		}
		if k.RevokedAt != nil {
			ch.unchanged = true
			return k, nil
		}
		if err := ch.mayEnd(ctx, tx, k); err != nil {
			return k, err
		}
		before := k
		k.RevokedAt = &ch.at
		ch.tell(keyEvent(authority.EventKeyRevoked, &before, &k))
		if err := tx.RevokeGatewaysOf(ctx, id, ch.at, ch.revision); err != nil {
			return k, err
		}
		return k, s.keepingOwners(ctx, tx, ch.at, func() error { return tx.RevokeKey(ctx, id, ch.at) })
	})
	if err != nil {
		return written, err
	}
	return written, s.nameWorkspaces(ctx, c, &written.Value)
}

// mayEnd reports as an error why the caller may not end a key: an owner's is for owners.
func (ch *change) mayEnd(ctx context.Context, tx *postgres.Tx, k authority.Key) error {
	if k.Kind != authority.KeyMember {
		return nil
	}
	holder, err := tx.Principal(ctx, k.PrincipalID)
	if err != nil {
		return err
	}
	return ch.caller.principal.Role.MayChange(holder.Role)
}
