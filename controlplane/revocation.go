package controlplane

import (
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// RevocationState says whether a revocation holds at every gateway.
type RevocationState string

// A revocation is committed in either state.
const (
	RevocationEnforced RevocationState = "enforced"
	RevocationPending  RevocationState = "pending"
)

// MaxRevocationWait bounds how long RevokeMandate waits for gateways; DefaultRevocationWait is CONTRACT's default.
const (
	DefaultRevocationWait = 10 * time.Second
	MaxRevocationWait     = 60 * time.Second
)

// Receipt tells what a revocation did. It is enforced once every gateway that may hold the mandate has acknowledged
// the revision; asking again for the same mandate answers the present state of the same revocation.
type Receipt struct {
	MandateID authority.MandateID   `json:"mandate_id"`
	State     RevocationState       `json:"state"`
	Revision  uint64                `json:"revision"`
	Mandates  []authority.MandateID `json:"mandates"` // that the revocation ended: the mandate and its descendants
	RevokedAt time.Time             `json:"revoked_at"`
	// EffectiveAt is when the last gateway acknowledged; nil while pending.
	EffectiveAt *time.Time       `json:"effective_at"`
	Gateways    []GatewayReceipt `json:"gateways"`
}

// GatewayReceipt is the part of one gateway in a revocation. EnforcedAt is nil until it has acknowledged.
type GatewayReceipt struct {
	GatewayID  authority.GatewayID `json:"gateway_id"`
	EnforcedAt *time.Time          `json:"enforced_at"`
}
