package authority

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// Identifiers are `<kind>_` and 128 random bits in lower-case base32: global, opaque and never used again. Each kind
// has a Go type of its own, so that one cannot be passed where another is meant.

// WorkspaceID identifies a workspace: ws_…
type WorkspaceID string

// PrincipalID identifies a principal: prn_…
type PrincipalID string

// PolicyID identifies an authority policy: pol_…
type PolicyID string

// MandateID identifies a mandate: mdt_…
type MandateID string

// DestinationID identifies a destination: dst_…
type DestinationID string

// RuleID identifies a rule of a destination: rul_…
type RuleID string

// KeyID identifies an API key: key_…
type KeyID string

// EventID identifies an event: evt_…
type EventID string

// DecisionID identifies a decision: dec_…
type DecisionID string

// RegoVersionID identifies a version of a Rego policy: rgo_…
type RegoVersionID string

// GatewayID identifies one process of a gateway: gtw_…
type GatewayID string

// PersonID identifies a person, across the workspaces of a deployment: psn_…
type PersonID string

// ClientAuthorityID identifies a client certificate authority: cau_…
type ClientAuthorityID string

// TrustedIssuerID identifies a trusted issuer: iss_…
type TrustedIssuerID string

// SessionID identifies a session of a person: ses_…
type SessionID string

// SigningKeyID identifies one of a workspace's own signing keys: sgk_ and the `kid` of what it signs.
type SigningKeyID string

// ReceiptID identifies the receipt of a revocation: rcp_…
type ReceiptID string

type identifier interface {
	~string
	prefix() string
}

func (WorkspaceID) prefix() string       { return "ws_" }
func (PrincipalID) prefix() string       { return "prn_" }
func (PolicyID) prefix() string          { return "pol_" }
func (MandateID) prefix() string         { return "mdt_" }
func (DestinationID) prefix() string     { return "dst_" }
func (RuleID) prefix() string            { return "rul_" }
func (KeyID) prefix() string             { return "key_" }
func (EventID) prefix() string           { return "evt_" }
func (DecisionID) prefix() string        { return "dec_" }
func (RegoVersionID) prefix() string     { return "rgo_" }
func (GatewayID) prefix() string         { return "gtw_" }
func (SessionID) prefix() string         { return "ses_" }
func (TrustedIssuerID) prefix() string   { return "iss_" }
func (ClientAuthorityID) prefix() string { return "cau_" }
func (PersonID) prefix() string          { return "psn_" }
func (ReceiptID) prefix() string         { return "rcp_" }

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const idLength = 26 // 128 bits in base32 without padding

// NewID makes an identifier of the asked kind: `authority.NewID[authority.MandateID]()`.
func NewID[T identifier]() T {
	var bits [16]byte
	rand.Read(bits[:])
	var zero T
	return T(zero.prefix() + lowerBase32.EncodeToString(bits[:]))
}

// ParseID reads an identifier of the asked kind. Anything that NewID cannot have made is an invalid_request.
func ParseID[T identifier](s string) (T, error) {
	var zero T
	rest, ok := strings.CutPrefix(s, zero.prefix())
	if !ok || len(rest) != idLength || strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return zero, Invalid("", "not an identifier of the form %s…", zero.prefix())
	}
	return T(s), nil
}
