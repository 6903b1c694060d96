package authority

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// Identifiers are `<kind>_` and 128 random bits in lower-case base32: global, opaque and never used again. Each kind
// has a Go type of its own, so that one cannot be passed where another is meant.
type (
	WorkspaceID   string // ws_…
	PrincipalID   string // prn_…
	PolicyID      string // pol_…
	MandateID     string // mdt_…
	DestinationID string // dst_…
	RuleID        string // rul_…
	KeyID         string // key_…
	EventID       string // evt_…
	DecisionID    string // dec_…
	RegoVersionID string // rgo_…
	GatewayID     string // gtw_…, one process of a gateway
)

type identifier interface {
	~string
	prefix() string
}

func (WorkspaceID) prefix() string   { return "ws_" }
func (PrincipalID) prefix() string   { return "prn_" }
func (PolicyID) prefix() string      { return "pol_" }
func (MandateID) prefix() string     { return "mdt_" }
func (DestinationID) prefix() string { return "dst_" }
func (RuleID) prefix() string        { return "rul_" }
func (KeyID) prefix() string         { return "key_" }
func (EventID) prefix() string       { return "evt_" }
func (DecisionID) prefix() string    { return "dec_" }
func (RegoVersionID) prefix() string { return "rgo_" }
func (GatewayID) prefix() string     { return "gtw_" }

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
