package controlplane

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Enrolment registers one process of a gateway. The sync server has verified that the process holds the private key.
type Enrolment struct {
	PublicKey []byte // Ed25519
	Instance  string // host name, for people
	Version   string // of the gateway's program
	Formats   []uint32
}

// Enrolled is what a gateway process starts with.
type Enrolled struct {
	Gateway    Gateway
	Deployment string
	Timeline   string
	// KeySet is sealed by the workspace's root key, whose fingerprint is in the gateway key.
	KeySet string
}

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID          authority.GatewayID   `json:"gateway_id"`
	WorkspaceID authority.WorkspaceID `json:"workspace_id"`
	KeyID       authority.KeyID       `json:"key_id"`
	PublicKey   []byte                `json:"-"`
	Instance    string                `json:"instance"`
	Version     string                `json:"version"`
	// Revision is the highest that its decisions are known to enforce.
	Revision   uint64     `json:"acknowledged_revision"`
	Connected  bool       `json:"connected"`
	EnrolledAt time.Time  `json:"enrolled_at"`
	SeenAt     time.Time  `json:"seen_at"`
	LeftAt     *time.Time `json:"left_at"` // when it said that it stops; nil while it may still decide
	// Envoy is what its Envoy last said of its configuration; empty when it accepted it.
	EnvoyRefusal string `json:"envoy_refusal,omitempty"`
}

// Bundle is the sealed state of a workspace at one revision.
type Bundle struct {
	Revision uint64
	Sealed   []byte
}

// Batch holds consecutive decision events of one gateway process: First to Last without gaps, and what became of
// decisions that may be in this or an earlier batch.
type Batch struct {
	GatewayID authority.GatewayID
	Epoch     uint64
	First     uint64
	Last      uint64
	Events    []authority.Event
	Outcomes  map[authority.DecisionID]authority.Outcome
}
