package bundle

import (
	"errors"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// MaxDelta is the size of the largest sealed delta, in bytes. What changes more than fits is told by a snapshot.
const MaxDelta = 4 << 20

// ErrDeltaTooLarge says that a change does not fit into a delta.
var ErrDeltaTooLarge = errors.New("the change exceeds the limit of a delta")

// Delta is what changes a state at one revision into that at a later one.
type Delta struct {
	// Critical names members that a gateway must understand to apply the delta, as a snapshot's does.
	Critical   []string
	Deployment string
	Workspace  authority.WorkspaceID
	Timeline   string
	From       uint64 // applies to the state at this revision only
	FromDigest Digest // and of this digest
	Revision   uint64
	Digest     Digest    // of the state that comes of it
	IssuedAt   time.Time // when it was sealed, in whole seconds of UTC

	// Head holds the members of the head that changed, each whole, and Members names them with their digests; the zero
	// Digest is that of a member that is empty.
	Head    Head
	Members map[string]Digest

	Principals Changes[authority.Principal, authority.PrincipalID]
	Mandates   Changes[authority.Mandate, authority.MandateID]
	AgentKeys  Changes[AgentKey, authority.KeyID]
}

// Changes are what changes in one list: items that are new or other than before, and those that are gone.
type Changes[T any, ID ~string] struct {
	Set     []Item[T]
	Removed []ID
}

// SealDelta makes the sealed form of a delta. key is a bundle key in keySet, which the workspace's root has sealed. A
// delta that is too large is ErrDeltaTooLarge.
func SealDelta(d Delta, key token.SigningKey, keySet string) ([]byte, error) {
	return nil, ErrDeltaTooLarge
}

// OpenDelta reads a delta that the trusted root vouches for and that continues exactly what is enforced. Anything else is
// an *Error; one that begins at another state is CodeGap.
func OpenDelta(sealed []byte, trust Trust) (Delta, token.KeySet, error) {
	return Delta{}, token.KeySet{}, refuse(CodeInvalid, "read delta: %w", ErrDeltaTooLarge)
}
