package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	accessLifetime = 15 * time.Minute
	maxKeyName     = 200 // bytes
)

// NewKey asks for an API key. PrincipalID is who the key acts for: a user for an owner's key, an agent or a service
// for an agent's, nobody for a gateway's.
type NewKey struct {
	Kind        authority.KeyKind     `json:"kind"`
	Name        string                `json:"name"`
	PrincipalID authority.PrincipalID `json:"principal_id"`
	// ExpiresAt ends the key; nil means that only a revocation does.
	ExpiresAt *time.Time `json:"expires_at"`
}

// CreatedKey is a new API key, told this once.
type CreatedKey struct {
	authority.Key
	APIKey string `json:"api_key"`
}

// CreateKey makes an API key.
func (s *Service) CreateKey(ctx context.Context, c Caller, n NewKey) (Written[CreatedKey], error) {
	op := operation{name: "create_key", right: administer}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (CreatedKey, error) {
		if n.Name == "" || len(n.Name) > maxKeyName || strings.ContainsFunc(n.Name, unprintable) {
			return CreatedKey{}, authority.Invalid("name", "is 1 to %d printable bytes", maxKeyName)
		}
		if ended(n.ExpiresAt, ch.at) {
			return CreatedKey{}, authority.Invalid("expires_at", "lies in the past")
		}
		if err := checkHolder(ctx, tx, n); err != nil {
			return CreatedKey{}, err
		}
		k := authority.Key{Kind: n.Kind, Name: n.Name, PrincipalID: n.PrincipalID}
		if n.ExpiresAt != nil {
			expires := n.ExpiresAt.UTC().Truncate(time.Microsecond)
			k.ExpiresAt = &expires
		}
		return s.addKey(ctx, tx, ch, k)
	})
}

func unprintable(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }

// checkHolder checks that the principal of a key is one that a key of its kind is for.
func checkHolder(ctx context.Context, tx *postgres.Tx, n NewKey) error {
	switch n.Kind {
	case authority.KeyOwner, authority.KeyAgent:
	case authority.KeyGateway:
		if n.PrincipalID != "" {
			return authority.Invalid("principal_id", "a gateway's key belongs to no principal")
		}
		return nil
	default:
		return authority.Invalid("kind", "is one of owner, agent, gateway")
	}
	if n.PrincipalID == "" {
		return authority.Invalid("principal_id", "says whom the key acts for")
	}
	p, err := tx.Principal(ctx, n.PrincipalID)
	if errors.Is(err, postgres.ErrNotFound) {
		return authority.Invalid("principal_id", "there is no such principal")
	}
	if err != nil {
		return err
	}
	if n.Kind == authority.KeyOwner {
		if p.Type != authority.User || p.Role != authority.RoleOwner {
			return authority.Invalid("principal_id", "an owner's key is for a user with the role owner")
		}
		return nil
	}
	if p.Type == authority.User {
		return authority.Invalid("principal_id", "an agent's key is for an agent or a service")
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
	hash := secret.Hash()
	if err := tx.InsertKey(ctx, k, hash[:]); err != nil {
		return CreatedKey{}, err
	}
	ch.tell(keyCreated(k))
	return CreatedKey{Key: k, APIKey: secret.Reveal()}, nil
}

func keyCreated(k authority.Key) authority.Event {
	return authority.Event{Type: authority.EventKeyCreated, PrincipalID: k.PrincipalID, Detail: map[string]any{"key": k}}
}

// KeyFilter narrows a list of keys; a zero field does not.
type KeyFilter = postgres.KeyFilter

// Keys lists API keys; the keys themselves are not kept.
func (s *Service) Keys(ctx context.Context, c Caller, f KeyFilter, p Page) (List[authority.Key], error) {
	op := operation{name: "list_keys", right: administer}
	return list(ctx, s, c, op, p, func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Key, error) {
		return tx.Keys(ctx, f, page)
	}, func(k authority.Key) place { return at(k.CreatedAt, 0, string(k.ID)) })
}

// RevokeKey ends an API key. Access tokens that were exchanged for it run out by themselves.
func (s *Service) RevokeKey(ctx context.Context, c Caller, id authority.KeyID) (Written[authority.Key], error) {
	op := operation{name: "revoke_key", right: administer}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Key, error) {
		k, err := tx.Key(ctx, id)
		if err != nil {
			return k, orNotFound("key", err)
		}
		if k.RevokedAt != nil {
			ch.unchanged = true
			return k, nil
		}
		if k.Kind == authority.KeyOwner {
			others, err := tx.CountOtherOwnerKeys(ctx, id, ch.at)
			if err != nil {
				return k, err
			}
			if others == 0 {
				return k, &authority.Error{Code: authority.CodeConflict, Message: "this is the last owner's key of the workspace; create another first"}
			}
		}
		k.RevokedAt = &ch.at
		ch.tell(authority.Event{Type: authority.EventKeyRevoked, PrincipalID: k.PrincipalID, Detail: map[string]any{"key": k}})
		return k, tx.RevokeKey(ctx, id, ch.at)
	})
}

// AccessToken is the answer of RFC 8693 to a token exchange.
type AccessToken struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"` // seconds
}

// IssueToken exchanges the API key of an agent or a service for an access token of 15 minutes, or of less where the key
// ends before.
func (s *Service) IssueToken(ctx context.Context, c Caller) (AccessToken, error) {
	op := operation{name: "issue_token", right: exchange}
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (AccessToken, error) {
		keys, err := s.openKeys(ctx, tx, c.workspace)
		if err != nil {
			return AccessToken{}, err
		}
		now := s.now()
		signer, err := keys.signer(token.PurposeToken, now)
		if err != nil {
			return AccessToken{}, err
		}
		issued := now.Truncate(time.Second)
		expires := issued.Add(accessLifetime)
		if key, err := tx.Key(ctx, c.key); err != nil {
			return AccessToken{}, err
		} else if key.ExpiresAt != nil && key.ExpiresAt.Before(expires) {
			expires = key.ExpiresAt.Truncate(time.Second)
		}
		text, err := token.SignAccess(signer, token.Access{
			Deployment: keys.set.Deployment, Workspace: c.workspace, Subject: c.principal.ID,
			ID: string(authority.NewID[authority.EventID]()), IssuedAt: issued, ExpiresAt: expires,
		})
		if err != nil {
			return AccessToken{}, err
		}
		return AccessToken{
			AccessToken:     text,
			IssuedTokenType: "urn:ietf:params:oauth:token-type:access_token",
			TokenType:       "Bearer",
			ExpiresIn:       int64(expires.Sub(issued) / time.Second),
		}, nil
	})
}
