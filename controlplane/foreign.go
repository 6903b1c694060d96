package controlplane

import (
	"context"
	"errors"
	"net/netip"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// Exchange asks for an access token for the JWT of a trusted issuer.
type Exchange struct {
	WorkspaceSlug string
	Token         string
	Address       netip.Addr // where the request comes from
	// TokenTerms narrow the access token. Without a Confirmation it is as bound as the JWT is.
	TokenTerms
}

// ExchangeToken answers an access token for the principal that a trusted issuer's JWT stands for. It ends with the JWT
// at the latest, and a JWT that is bound to a certificate gives a token that is bound to the same. Whatever is wrong with
// the JWT or the workspace, the answer is the same unauthenticated error.
func (s *Service) ExchangeToken(ctx context.Context, e Exchange) (AccessToken, error) {
	if err := e.Confirmation.Validate(); err != nil {
		return AccessToken{}, authority.Within("cnf", err)
	}
	w, err := s.store.LookUpSlug(ctx, e.WorkspaceSlug)
	if errors.Is(err, postgres.ErrNotFound) {
		return AccessToken{}, errUnauthenticated
	}
	if err != nil {
		return AccessToken{}, s.tell(ctx, err)
	}
	c, identity, err := s.bearerOfForeign(ctx, w, e)
	if err != nil {
		return AccessToken{}, s.tell(ctx, err)
	}
	terms := e.TokenTerms
	if terms.Confirmation, err = keptConfirmation(identity.Confirmation, e.Confirmation); err != nil {
		return AccessToken{}, err
	}
	return read(ctx, s, c, allowed("exchange_token"), func(ctx context.Context, tx *postgres.Tx) (AccessToken, error) {
		return s.mint(ctx, tx, c, terms, identity.ExpiresAt)
	})
}

// bearerOfForeign identifies the bearer of a JWT of one of a workspace's trusted issuers.
func (s *Service) bearerOfForeign(ctx context.Context, w authority.WorkspaceID, e Exchange) (Caller, token.Identity, error) {
	var identity token.Identity
	err := s.store.Read(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		issuers, err := issuersOf(ctx, tx)
		if err != nil {
			return err
		}
		if identity, err = issuers.Verify(e.Token, s.now()); err != nil {
			return errUnauthenticated
		}
		return nil
	})
	if err != nil {
		return Caller{}, identity, err
	}
	c, err := s.withPrincipal(ctx, Caller{workspace: w, home: w, address: e.Address}, identity.Principal)
	if err != nil {
		if errors.Is(err, postgres.ErrNotFound) {
			err = errUnauthenticated
		}
		return Caller{}, identity, err
	}
	if c.kind = authority.OfPrincipal(c.principal.Type); !c.kind.IsOwn() {
		return Caller{}, identity, errUnauthenticated
	}
	return c, identity, nil
}

// keptConfirmation is what an access token is bound to: a binding can be added, but not taken away or moved.
func keptConfirmation(had, asked *authority.Confirmation) (*authority.Confirmation, error) {
	if had == nil || asked != nil && *asked == *had {
		return asked, nil
	}
	if asked != nil {
		return nil, authority.Invalid("cnf", "the token is bound to another certificate")
	}
	return had, nil
}

// issuersOf are the trusted issuers of the transaction's workspace, ready to verify with.
func issuersOf(ctx context.Context, tx *postgres.Tx) (token.Issuers, error) {
	all, err := trusted(ctx, tx)
	if err != nil {
		return token.Issuers{}, err
	}
	return token.NewIssuers(all)
}
