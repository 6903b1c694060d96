package controlplane

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// KeySetup is the kind of the deployment's setup key, which belongs to no workspace.
const KeySetup authority.KeyKind = "setup"

// Caller is an authenticated party. Only Authenticate makes one; the zero Caller may do nothing.
type Caller struct {
	key       authority.KeyID
	kind      authority.KeyKind
	workspace authority.WorkspaceID
	slug      string
	principal authority.Principal
	once      once
}

// once names a write that is to have one effect however often it is sent.
type once struct {
	key    string
	digest []byte
}

// Key is the API key that the caller presented; empty for an access token and for the setup key.
func (c Caller) Key() authority.KeyID { return c.key }

// Kind says what the caller may do at all. The bearer of an access token acts as an agent, whatever its principal.
func (c Caller) Kind() authority.KeyKind { return c.kind }

// Workspace is the one workspace of the caller; empty for the setup key.
func (c Caller) Workspace() authority.WorkspaceID { return c.workspace }

// Slug is the name in addresses of the caller's workspace; empty for the setup key.
func (c Caller) Slug() string { return c.slug }

// Principal is who acts; zero for a gateway and for the setup key.
func (c Caller) Principal() authority.Principal { return c.principal }

// Once gives the next write an Idempotency-Key. For 24 hours the same key with the same digest of the request answers
// what the first call answered and changes nothing; with another digest it is a conflict. The memory of the answer is
// part of the transaction of the change, so that a crash leaves both or neither. Answers that are errors are not kept.
func (c Caller) Once(idempotencyKey string, requestDigest []byte) Caller {
	c.once = once{idempotencyKey, requestDigest}
	return c
}

// Within checks that a slug names the caller's workspace. Any other is not found, whether it exists or not.
func (c Caller) Within(slug string) error {
	if slug == "" || slug != c.slug {
		return authority.NotFound("workspace")
	}
	return nil
}

// name tells callers of one workspace apart, for what is kept by caller.
func (c Caller) name() string {
	if c.key != "" {
		return string(c.key)
	}
	if c.principal.ID != "" {
		return string(c.principal.ID)
	}
	return string(c.kind)
}

var errUnauthenticated = &authority.Error{Code: authority.CodeUnauthenticated, Message: "the credential is missing, wrong, expired or revoked"}

// Authenticate identifies the bearer of an API key, of an access token or of the deployment's setup key. Whatever is
// wrong with a credential, the answer is the same unauthenticated error; unavailable means that it was not judged.
func (s *Service) Authenticate(ctx context.Context, bearer string) (Caller, error) {
	if s.setup != nil {
		digest := sha256.Sum256([]byte(bearer))
		if subtle.ConstantTimeCompare(digest[:], s.setup[:]) == 1 {
			return Caller{kind: KeySetup}, nil
		}
	}
	var (
		c   Caller
		err error
	)
	if key, parsed := token.ParseAPIKey(bearer); parsed == nil {
		c, err = s.bearerOfKey(ctx, key)
	} else if workspace, ok := claimedWorkspace(bearer); ok {
		c, err = s.bearerOfToken(ctx, workspace, bearer)
	} else {
		err = errUnauthenticated
	}
	if errors.Is(err, postgres.ErrNotFound) {
		err = errUnauthenticated
	}
	if err != nil {
		return Caller{}, s.tell(ctx, err)
	}
	return c, nil
}

func (s *Service) bearerOfKey(ctx context.Context, key token.APIKey) (Caller, error) {
	proof, err := s.store.LookUpKey(ctx, key.ID)
	if err != nil {
		return Caller{}, err
	}
	if !key.Matches(proof.Hash) || key.Kind != proof.Kind || proof.RevokedAt != nil || ended(proof.ExpiresAt, s.now()) {
		return Caller{}, errUnauthenticated
	}
	c := Caller{key: key.ID, kind: proof.Kind, workspace: proof.WorkspaceID}
	return s.withPrincipal(ctx, c, proof.PrincipalID)
}

func (s *Service) bearerOfToken(ctx context.Context, workspace authority.WorkspaceID, bearer string) (Caller, error) {
	keys, err := s.keys(ctx, workspace)
	if err != nil {
		return Caller{}, err
	}
	access, err := keys.set.VerifyAccess(bearer, s.now())
	if err != nil {
		return Caller{}, errUnauthenticated
	}
	c := Caller{kind: authority.KeyAgent, workspace: workspace}
	return s.withPrincipal(ctx, c, access.Subject)
}

// withPrincipal completes a caller who has proven to be one of the workspace.
func (s *Service) withPrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (Caller, error) {
	err := s.store.Read(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		w, err := tx.Workspace(ctx)
		if err != nil {
			return err
		}
		c.slug = w.Slug
		if id != "" {
			c.principal, err = tx.Principal(ctx, id)
		}
		return err
	})
	return c, err
}

// claimedWorkspace reads the workspace that an access token says it is for, which decides nothing but whose keys it is
// verified with.
func claimedWorkspace(jws string) (authority.WorkspaceID, bool) {
	if len(jws) > token.MaxAccess {
		return "", false
	}
	_, rest, _ := strings.Cut(jws, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return "", false
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", false
	}
	var claims struct {
		Audience string `json:"aud"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return "", false
	}
	name, _, _ := strings.Cut(claims.Audience, "/")
	id, err := authority.ParseID[authority.WorkspaceID](name)
	return id, err == nil
}

func ended(at *time.Time, now time.Time) bool { return at != nil && !now.Before(*at) }
