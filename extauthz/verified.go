package extauthz

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/token"
)

// maxVerified bounds the tokens that are remembered. Only tokens of ours are, so nobody else can fill the memory.
const maxVerified = 20_000

// verified remembers the access tokens that were verified against one key set, since a signature costs more to verify
// than all the rest of a check. It keeps no token, only digests, and nothing for longer than verifying again would
// come to the same answer: until the token expires or a key retires.
type verified struct {
	keys token.KeySet

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]remembered
}

type remembered struct {
	access token.Access
	until  time.Time
}

// access verifies a token, or recognises it. What it is bound to is for the caller to hold against its certificate.
func (v *verified) access(jws string, now time.Time) (token.Access, error) {
	digest := sha256.Sum256([]byte(jws))
	v.mu.RLock()
	known, ok := v.tokens[digest]
	v.mu.RUnlock()
	if ok && !now.Before(known.access.IssuedAt) && now.Before(known.until) {
		return known.access, nil
	}
	access, err := v.keys.VerifyConfirmable(jws, now)
	if err != nil {
		return token.Access{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens == nil || len(v.tokens) >= maxVerified {
		v.tokens = make(map[[sha256.Size]byte]remembered)
	}
	v.tokens[digest] = remembered{access, v.until(access, now)}
	return access, nil
}

// until is when a token that holds now may cease to.
func (v *verified) until(access token.Access, now time.Time) time.Time {
	end := access.ExpiresAt
	for _, key := range v.keys.Keys {
		if key.RetireAt.After(now) && key.RetireAt.Before(end) {
			end = key.RetireAt
		}
	}
	return end
}
