package authority

import "time"

// ReceiptKind says what a receipt's revocation took away.
type ReceiptKind string

// The kinds of receipts.
const (
	ReceiptOfMandate   ReceiptKind = "mandate"   // one mandate and all that was cut from it
	ReceiptOfMandates  ReceiptKind = "mandates"  // all mandates that a filter names, and all that was cut from these
	ReceiptOfPrincipal ReceiptKind = "principal" // a suspension
	ReceiptOfWorkspace ReceiptKind = "workspace" // a deletion
	ReceiptOfGateway   ReceiptKind = "gateway"   // one gateway process
)

// ReceiptState says whether a revocation holds at every gateway. It is committed whatever the state.
type ReceiptState string

// The states of receipts.
const (
	// ReceiptPending waits for gateways, or for what they let through just before to have ended.
	ReceiptPending ReceiptState = "pending"
	// ReceiptEnforced is in force everywhere since EffectiveAt.
	ReceiptEnforced ReceiptState = "enforced"
	// ReceiptWithdrawn was undone before it was enforced: its principal was resumed, or its workspace restored.
	ReceiptWithdrawn ReceiptState = "withdrawn"
)

// ReceiptTarget is what a revocation was asked for: the thing of the receipt's kind, or for the kind mandates all that
// every one of the fields that are given admits.
type ReceiptTarget struct {
	MandateID      MandateID   `json:"mandate_id,omitempty"`
	PrincipalID    PrincipalID `json:"principal_id,omitempty"`
	WorkspaceID    WorkspaceID `json:"workspace_id,omitempty"`
	GatewayID      GatewayID   `json:"gateway_id,omitempty"`
	SubjectID      PrincipalID `json:"subject_id,omitempty"`
	IssuerID       PrincipalID `json:"issuer_id,omitempty"`
	UnderMandateID MandateID   `json:"under_mandate_id,omitempty"`
}

// ID is the one thing that the revocation was asked for; empty for a filter.
func (t ReceiptTarget) ID() string {
	for _, id := range []string{string(t.MandateID), string(t.PrincipalID), string(t.WorkspaceID), string(t.GatewayID)} {
		if id != "" {
			return id
		}
	}
	return ""
}

// Receipt tells what a revocation did, and where it is in force since when.
type Receipt struct {
	ID          ReceiptID     `json:"receipt_id"`
	WorkspaceID WorkspaceID   `json:"workspace_id"`
	Kind        ReceiptKind   `json:"kind"`
	Target      ReceiptTarget `json:"target"`
	State       ReceiptState  `json:"state"`
	Revision    uint64        `json:"revision"`
	Timeline    string        `json:"timeline"`
	RequestedBy PrincipalID   `json:"requested_by"`
	RevokedAt   time.Time     `json:"revoked_at"`
	CreatedAt   time.Time     `json:"created_at"`
	// MandateCount is how many mandates the revocation ended. A suspension and a deletion end none: what rests on the
	// principal or the workspace is denied.
	MandateCount int64 `json:"mandate_count"`
	// MandatesDigest is the SHA-256 of the ids of these mandates, in the order of their bytes, each with a line feed behind
	// it.
	MandatesDigest []byte `json:"mandates_digest"`
	// SettlingMS is for how long, in milliseconds, what was let through just before may still last once every gateway
	// enforces the revocation.
	SettlingMS int64 `json:"settling_ms"`
	// EffectiveAt is since when the revocation is in force everywhere; nil while it is not known to be.
	EffectiveAt *time.Time `json:"effective_at"`
	// WithdrawnAt is when what the revocation did was undone before it was enforced.
	WithdrawnAt *time.Time `json:"withdrawn_at"`
	// Signature is by the workspace's receipt key over all the rest but the state; empty until the receipt is enforced.
	Signature string `json:"signature"`
}

// GatewayReceipt is the part of one gateway process in a revocation. Once EnforcedAt or FencedAt is there it permits
// nothing that was taken away.
type GatewayReceipt struct {
	GatewayID GatewayID `json:"gateway_id"`
	Instance  string    `json:"instance"`
	// Lease is the number of the lease that the gateway had when the revocation was made; 0 for one that knows of none.
	Lease uint64 `json:"lease"`
	// FencedUntil is by when its lease is over if it is not heard of, as far as wall clocks can tell; nil where only its
	// acknowledgement or an operator ends the wait.
	FencedUntil *time.Time `json:"fenced_until"`
	EnforcedAt  *time.Time `json:"enforced_at"` // when it said that its decisions enforce the revocation
	FencedAt    *time.Time `json:"fenced_at"`   // when its lease was known to be over
	// StreamsCut is how many live streams it ended on the way to that acknowledgement.
	StreamsCut uint64 `json:"streams_cut"`
}
