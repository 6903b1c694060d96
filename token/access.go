package token

import (
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// MaxAccess is the size of the largest access token that is read, in bytes.
const MaxAccess = 8 << 10

// Access says who a caller is, for a short time: the bearer of a JWT that carries it acts as Subject.
type Access struct {
	Deployment string
	Workspace  authority.WorkspaceID
	Subject    authority.PrincipalID
	ID         string // of this token, for the record
	// The token holds until ExpiresAt, exclusive. Both are in whole seconds of UTC.
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Confirmation binds the token to a client certificate; nil for one that its bearer may use without.
	Confirmation *authority.Confirmation
	// Mandate, if set, is the only one that the bearer may present.
	Mandate authority.MandateID
}

type accessClaims struct {
	Issuer   string                `json:"iss"`
	Audience string                `json:"aud"`
	Subject  authority.PrincipalID `json:"sub"`
	ID       string                `json:"jti"`
	IssuedAt int64                 `json:"iat"`
	Expires  int64                 `json:"exp"`

	Confirmation *authority.Confirmation `json:"cnf,omitempty"`
	Mandate      authority.MandateID     `json:"caracal_mandate,omitempty"`
}

// SignAccess makes the JWT. The times are cut to whole seconds; IssuedAt must lie in the key's period.
func SignAccess(key SigningKey, a Access) (string, error) {
	text, err := key.sign(PurposeToken, a.IssuedAt, accessClaims{
		Issuer:   a.Deployment,
		Audience: audience(a.Workspace, PurposeToken),
		Subject:  a.Subject,
		ID:       a.ID,
		IssuedAt: a.IssuedAt.Unix(),
		Expires:  a.ExpiresAt.Unix(),

		Confirmation: a.Confirmation, Mandate: a.Mandate,
	})
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	if len(text) > MaxAccess {
		return "", fmt.Errorf("sign access token: %w", ErrTooLarge)
	}
	return text, nil
}

// VerifyAccess reads a JWT that SignAccess made for this deployment and workspace and that holds at now, while its key
// is in its period too. Claims that it does not know are ignored, a not-before apart, which is honoured. A token that is
// bound to a certificate is ErrBound: see VerifyConfirmable.
func (s KeySet) VerifyAccess(jws string, now time.Time) (Access, error) {
	access, err := s.VerifyConfirmable(jws, now)
	if err == nil && access.Confirmation != nil {
		return Access{}, fmt.Errorf("verify access token: %w", ErrBound)
	}
	return access, err
}

// VerifyConfirmable is VerifyAccess for who knows which certificate the bearer has shown, and holds the token's
// Confirmation against it.
func (s KeySet) VerifyConfirmable(jws string, now time.Time) (Access, error) {
	access, err := s.verifyAccess(jws, now)
	if err != nil {
		return Access{}, fmt.Errorf("verify access token: %w", err)
	}
	return access, nil
}

func (s KeySet) verifyAccess(jws string, now time.Time) (Access, error) {
	token, err := s.open(jws, PurposeToken, MaxAccess)
	if err != nil {
		return Access{}, err
	}
	if !token.key.acceptedAt(now) {
		return Access{}, ErrKeyPeriod
	}
	sub, err := token.claims.text("sub")
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	subject, err := authority.ParseID[authority.PrincipalID](sub)
	if err != nil {
		return Access{}, fmt.Errorf("%w: sub is not a principal's", ErrClaims)
	}
	id, err := token.claims.text("jti")
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	expires, err := token.claims.instant("exp")
	if err != nil {
		return Access{}, err
	}
	begins := token.issued
	if _, ok := token.claims["nbf"]; ok {
		if begins, err = token.claims.instant("nbf"); err != nil {
			return Access{}, err
		}
	}
	confirmation, err := confirmationOf(token.claims)
	if err != nil {
		return Access{}, err
	}
	mandate, err := boundTo(token.claims)
	if err != nil {
		return Access{}, err
	}
	horizon := now.Add(clockSkew)
	switch {
	case !now.Before(expires):
		return Access{}, ErrExpired
	case token.issued.After(horizon), begins.After(horizon):
		return Access{}, ErrNotYetValid
	}
	return Access{
		Deployment: s.Deployment, Workspace: s.Workspace, Subject: subject, ID: id,
		IssuedAt: token.issued, ExpiresAt: expires, Confirmation: confirmation, Mandate: mandate,
	}, nil
}

// boundTo is the mandate that a token is bound to; empty for one that is not.
func boundTo(c object) (authority.MandateID, error) {
	if _, ok := c["caracal_mandate"]; !ok {
		return "", nil
	}
	text, err := c.text("caracal_mandate")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrClaims, err)
	}
	mandate, err := authority.ParseID[authority.MandateID](text)
	if err != nil {
		return "", fmt.Errorf("%w: caracal_mandate is not a mandate's", ErrClaims)
	}
	return mandate, nil
}
