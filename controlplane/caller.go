package controlplane

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// KeySetup is the kind of the deployment's setup key, which belongs to no workspace.
const KeySetup authority.KeyKind = "setup"

// Credential is what a request brings to be identified by.
type Credential struct {
	// Bearer is an API key, an access token, the secret of a session of the command line or the deployment's setup key.
	Bearer string
	// Address is where the request comes from; the zero address is in no network.
	Address netip.Addr
}

// Caller is an authenticated party in one workspace. Only Authenticate makes one; the zero Caller may do nothing.
type Caller struct {
	key       authority.KeyID
	kind      authority.KeyKind
	workspace authority.WorkspaceID
	slug      string
	// principal is who acts, with the role that the key leaves it.
	principal authority.Principal
	address   netip.Addr
	person    authority.PersonID
	session   authority.SessionID // empty for what comes with a key or a token
	mandate   authority.MandateID // the only one that the bearer of a token may use; empty for every other caller
	limit     authority.Role      // of the key
	home      authority.WorkspaceID
	elsewhere []authority.WorkspaceID // beyond home, where the key is good if the person is a member there
	once      once
	match     []string          // of If-Match
	accepts   string            // digest of the report that the caller accepts
	seen      []authority.State // that every answer has to know
	trail     *Trail            // nil: nobody asks where the caller was
}

// once names a write that is to have one effect however often it is sent.
type once struct {
	key    string
	digest []byte
}

// Key is the API key that the caller presented; empty for an access token, a session and the setup key.
func (c Caller) Key() authority.KeyID { return c.key }

// Kind says what the caller may do at all. The bearer of an access token is of its principal's kind, a session a member.
func (c Caller) Kind() authority.KeyKind { return c.kind }

// Workspace is where the caller is; empty for the setup key, and for a person who has yet to enter one of several.
func (c Caller) Workspace() authority.WorkspaceID { return c.workspace }

// Slug is the name in addresses of the workspace that the caller is in.
func (c Caller) Slug() string { return c.slug }

// Principal is who acts, with the role that its key leaves it; zero for a gateway and for the setup key.
func (c Caller) Principal() authority.Principal { return c.principal }

// Person is who the caller is in every workspace; empty for all but members.
func (c Caller) Person() authority.PersonID { return c.person }

// Session is what the person signed in to; empty for who comes with a key or a token.
func (c Caller) Session() authority.SessionID { return c.session }

// Address is where the caller's request comes from.
func (c Caller) Address() netip.Addr { return c.address }

// Once gives the next write an Idempotency-Key. For 24 hours the same key with the same digest of the request answers
// what the first call answered and changes nothing; with another digest it is a conflict. The memory of the answer is
// part of the transaction of the change, so that a crash leaves both or neither. Answers that are errors are not kept.
func (c Caller) Once(idempotencyKey string, requestDigest []byte) Caller {
	c.once = once{idempotencyKey, requestDigest}
	return c
}

// name tells callers of one workspace apart, for what is kept by caller.
func (c Caller) name() string {
	if c.key != "" {
		return string(c.key)
	}
	if c.person != "" {
		return string(c.person)
	}
	if c.principal.ID != "" {
		return string(c.principal.ID)
	}
	return string(c.kind)
}

var errUnauthenticated = &authority.Error{Code: authority.CodeUnauthenticated, Message: "the credential is missing, wrong, expired or revoked"}

// Authenticate identifies the bearer of an API key, an access token, a session or the deployment's setup key. Whatever is
// wrong with a credential, the answer is the same unauthenticated error; unavailable means that it was not judged. The
// caller is in the workspace of its key.
func (s *Service) Authenticate(ctx context.Context, credential Credential) (Caller, error) {
	if s.setup != nil {
		digest := sha256.Sum256([]byte(credential.Bearer))
		if subtle.ConstantTimeCompare(digest[:], s.setup[:]) == 1 {
			return Caller{kind: KeySetup, address: credential.Address}, nil
		}
	}
	var (
		c   Caller
		err error
	)
	if key, parsed := token.ParseAPIKey(credential.Bearer); parsed == nil {
		c, err = s.bearerOfKey(ctx, key, credential.Address)
	} else if strings.HasPrefix(credential.Bearer, bearerPrefix) {
		c, err = s.AuthenticateSession(ctx, credential.Bearer, authority.SessionCLI, credential.Address)
	} else if workspace, ok := claimedWorkspace(credential.Bearer); ok {
		c, err = s.bearerOfToken(ctx, workspace, credential)
	} else {
		err = errUnauthenticated
	}
	if errors.Is(err, postgres.ErrNotFound) {
		err = errUnauthenticated
	}
	if err != nil {
		return Caller{}, s.tell(ctx, err)
	}
	if c.key != "" {
		s.replica.See(c.workspace, string(c.key), s.now())
	}
	return c, nil
}

// bearerOfKey does the same work for a key that is not there as for one whose secret is another.
func (s *Service) bearerOfKey(ctx context.Context, key token.APIKey, from netip.Addr) (Caller, error) {
	proof, err := s.store.LookUpKey(ctx, key.ID)
	if errors.Is(err, postgres.ErrNotFound) {
		proof, err = postgres.KeyProof{Hash: make([]byte, sha256.Size)}, nil
	}
	if err != nil {
		return Caller{}, err
	}
	if !key.Matches(proof.Hash) || !key.IsFor(proof.Kind) || !stands(proof, from, s.now()) {
		return Caller{}, errUnauthenticated
	}
	return s.withPrincipal(ctx, Caller{
		key: key.ID, kind: proof.Kind, workspace: proof.WorkspaceID, address: from,
		person: proof.PersonID, limit: proof.Role, home: proof.WorkspaceID, elsewhere: proof.Workspaces,
	}, proof.PrincipalID)
}

// stands reports whether a key opens something at an instant from an address. A member's key ends with the membership.
func stands(proof postgres.KeyProof, from netip.Addr, now time.Time) bool {
	switch {
	case proof.WorkspaceID == "", proof.RevokedAt != nil, ended(proof.ExpiresAt, now):
		return false
	case proof.Kind == authority.KeyMember && proof.HolderRole == "":
		return false
	}
	return authority.Admits(proof.AllowedNetworks, from)
}

func (s *Service) bearerOfToken(ctx context.Context, workspace authority.WorkspaceID, credential Credential) (Caller, error) {
	keys, err := s.keys(ctx, workspace)
	if err != nil {
		return Caller{}, err
	}
	access, err := keys.set.VerifyAccess(credential.Bearer, s.now())
	if err != nil {
		return Caller{}, errUnauthenticated
	}
	c, err := s.withPrincipal(ctx, Caller{workspace: workspace, home: workspace, address: credential.Address, mandate: access.Mandate}, access.Subject)
	if err != nil {
		return c, err
	}
	if c.kind = authority.OfPrincipal(c.principal.Type); !c.kind.IsOwn() {
		return Caller{}, errUnauthenticated
	}
	return c, nil
}

// withPrincipal completes a caller who has proven to be one of the workspace. Who it is can be told of a restored database
// too: what it asks for is refused then.
func (s *Service) withPrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (Caller, error) {
	err := s.store.ReadRestored(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		w, err := tx.Workspace(ctx)
		if err != nil {
			return err
		}
		c.slug = w.Slug
		if id != "" {
			c.principal, err = tx.Principal(ctx, id)
			c.principal.Role = c.principal.Role.Within(c.limit)
		}
		if err == nil && !c.mayLook(w) {
			err = postgres.ErrNotFound // nobody is told more of a deleted workspace than of one that is not there
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
