package bundle

import (
	"errors"
	"net/netip"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Format is the version of bundles that this program seals and opens.
const Format = 2

// Snapshot is the state of a workspace at one revision: all that a gateway decides from. Everything in it belongs to
// that workspace.
type Snapshot struct {
	// Format is the version of the form; Seal writes the constant.
	Format int
	// Critical names members of the snapshot that a gateway must understand to enforce it. One that does not know
	// such a name refuses the bundle; what is not named here and not known is ignored.
	Critical   []string
	Deployment string
	Timeline   string
	Revision   uint64 // from 1
	// IssuedAt is when the bundle was sealed, in whole seconds of UTC. It is not part of the state, which has the
	// same digest whenever it is sealed.
	IssuedAt time.Time
	// Digest is that of the state, once the snapshot is opened.
	Digest Digest

	Head
	Principals []authority.Principal
	// Mandates are those that hold or will, and those that ended not long ago, so that their end can be told. In a
	// snapshot that was opened their signatures are detached.
	Mandates  []authority.Mandate
	AgentKeys []AgentKey
}

// AgentKey lets a gateway recognise the API key of an agent or service without asking.
type AgentKey struct {
	ID          authority.KeyID       `json:"key_id"`
	PrincipalID authority.PrincipalID `json:"principal_id"`
	Hash        []byte                `json:"hash"` // as token.APIKey.Hash gives it
	ExpiresAt   *time.Time            `json:"expires_at"`
	// AllowedNetworks are where the key may be used from; empty means anywhere.
	AllowedNetworks []netip.Prefix `json:"allowed_networks,omitempty"`
}

// check holds for every snapshot that is sealed or opened. Its lists are checked item by item.
func (s Snapshot) check() error {
	if s.Deployment == "" || s.Timeline == "" || s.Workspace.ID == "" {
		return errors.New("a snapshot names its deployment, timeline and workspace")
	}
	if s.Revision == 0 {
		return errors.New("revisions begin at 1")
	}
	return s.Head.check(s.Workspace.ID)
}
