package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	accessLifetime = 15 * time.Minute
	// maxBoundLifetime is how long a token lasts at most that is bound to a mandate. It ends with the mandate in any case.
	maxBoundLifetime = 24 * time.Hour
)

// TokenTerms narrow an access token. The zero terms leave it as it comes.
type TokenTerms struct {
	// Confirmation binds the token to a client certificate; nil binds it to none.
	Confirmation *authority.Confirmation
	// MandateID binds the token to one mandate of the caller's: its bearer may present no other and do nothing else.
	MandateID authority.MandateID
	// LifetimeSeconds is for how long it is asked; 0 means 15 minutes, which is also the most unless it is bound to a mandate.
	LifetimeSeconds int64
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
	return s.IssueBoundToken(ctx, c, TokenTerms{})
}

// IssueBoundToken is IssueToken for a token with terms.
func (s *Service) IssueBoundToken(ctx context.Context, c Caller, terms TokenTerms) (AccessToken, error) {
	op := allowed("exchange_token")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (AccessToken, error) {
		if c.key == "" {
			return AccessToken{}, authority.Forbidden("an access token is exchanged for an API key")
		}
		if err := terms.Confirmation.Validate(); err != nil {
			return AccessToken{}, authority.Within("cnf", err)
		}
		latest := endOfTime()
		if key, err := tx.Key(ctx, c.key); err != nil {
			return AccessToken{}, err
		} else if key.ExpiresAt != nil {
			latest = *key.ExpiresAt
		}
		return s.mint(ctx, tx, c, terms, latest)
	})
}

// mint makes an access token of the caller that ends as its terms say, or at an instant before.
func (s *Service) mint(ctx context.Context, tx *postgres.Tx, c Caller, terms TokenTerms, latest time.Time) (AccessToken, error) {
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
	lifetime, err := terms.lifetime()
	if err != nil {
		return AccessToken{}, err
	}
	ends := []time.Time{latest, signer.RetireAt}
	if terms.MandateID != "" {
		m, err := ownLive(ctx, tx, c, terms.MandateID, now)
		if err != nil {
			return AccessToken{}, err
		}
		ends = append(ends, m.ValidUntil)
	}
	expires := issued.Add(lifetime)
	for _, end := range ends {
		if end.Before(expires) {
			expires = end.Truncate(time.Second)
		}
	}
	if !issued.Before(expires) {
		return AccessToken{}, errUnauthenticated
	}
	text, err := token.SignAccess(signer, token.Access{
		Deployment: keys.set.Deployment, Workspace: c.workspace, Subject: c.principal.ID,
		ID: string(authority.NewID[authority.EventID]()), IssuedAt: issued, ExpiresAt: expires,
		Confirmation: terms.Confirmation, Mandate: terms.MandateID,
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
}

// lifetime is how long the token is to last, unless something that it rests on ends before.
func (t TokenTerms) lifetime() (time.Duration, error) {
	most := accessLifetime
	if t.MandateID != "" {
		most = maxBoundLifetime
	}
	if t.LifetimeSeconds == 0 {
		return accessLifetime, nil
	}
	if t.LifetimeSeconds < 1 || t.LifetimeSeconds > int64(most/time.Second) {
		if t.MandateID == "" {
			return 0, authority.Invalid("lifetime_seconds", "is 1 to %d; a token that is bound to a mandate may last longer", int64(most/time.Second))
		}
		return 0, authority.Invalid("lifetime_seconds", "is 1 to %d", int64(most/time.Second))
	}
	return time.Duration(t.LifetimeSeconds) * time.Second, nil
}

// ownLive is a mandate that was issued to the caller and holds now. What the caller may not know is not found.
func ownLive(ctx context.Context, tx *postgres.Tx, c Caller, id authority.MandateID, at time.Time) (authority.Mandate, error) {
	if _, err := authority.ParseID[authority.MandateID](string(id)); err != nil {
		return authority.Mandate{}, authority.Within("mandate_id", err)
	}
	chain, err := tx.Chain(ctx, id)
	if err != nil {
		return authority.Mandate{}, err
	}
	if !c.knows(chain) {
		return authority.Mandate{}, authority.NotFound("mandate")
	}
	if chain[0].SubjectID != c.principal.ID {
		return authority.Mandate{}, authority.Refused(authority.ReasonSubjectMismatch, "a token is bound to a mandate that was issued to its bearer, and to nobody else's")
	}
	known, err := registry(ctx, tx, id)
	if err != nil {
		return authority.Mandate{}, err
	}
	f := authority.Live(known, authority.Inquiry{Mandate: id, Presenter: c.principal.ID, Unpresented: true, At: at})
	if f.Reason != "" {
		return authority.Mandate{}, authority.Refused(f.Reason, "%s", f.Message)
	}
	return chain[0], nil
}
