package extauthz

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/token"
)

// outsiders know whom the tokens of trusted issuers identify. They remember the tokens that identified somebody, by their
// digests and until they expire. Nothing outlives the snapshot, so that a key or a binding that is taken away ends what
// it vouched for at once.
type outsiders struct {
	issuers token.Issuers

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]token.Identity
}

func newOutsiders(list []token.TrustedIssuer) (*outsiders, error) {
	issuers, err := token.NewIssuers(list)
	if err != nil {
		return nil, fmt.Errorf("trusted issuers: %w", err)
	}
	return &outsiders{issuers: issuers}, nil
}

// identity verifies a token, or recognises it. What it is bound to is for the caller to hold against its certificate.
func (o *outsiders) identity(jws string, now time.Time) (token.Identity, error) {
	digest := sha256.Sum256([]byte(jws))
	o.mu.RLock()
	known, ok := o.tokens[digest]
	o.mu.RUnlock()
	if ok && !now.Before(known.IssuedAt) && now.Before(known.ExpiresAt) {
		return known, nil
	}
	identity, err := o.issuers.Verify(jws, now)
	if err != nil {
		return token.Identity{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokens == nil || len(o.tokens) >= maxVerified {
		o.tokens = make(map[[sha256.Size]byte]token.Identity)
	}
	o.tokens[digest] = identity
	return identity, nil
}
