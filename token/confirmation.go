package token

import (
	"fmt"

	"github.com/caracal-gateway/caracal/authority"
)

// confirmationOf reads the `cnf` claim of a token: nil when there is none. One that asks for another proof than a client
// certificate, or for more than one, is ErrClaims: what cannot be checked must not be passed over.
func confirmationOf(claims object) (*authority.Confirmation, error) {
	raw, bound := claims["cnf"]
	if !bound {
		return nil, nil
	}
	methods, err := members(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: cnf: %w", ErrClaims, err)
	}
	text, err := methods.text("x5t#S256")
	if err != nil || len(methods) != 1 {
		return nil, fmt.Errorf("%w: cnf is not of the one form x5t#S256", ErrClaims)
	}
	thumbprint, err := authority.ParseThumbprint(text)
	if err != nil {
		return nil, fmt.Errorf("%w: cnf: %w", ErrClaims, err)
	}
	return &authority.Confirmation{Certificate: thumbprint}, nil
}
