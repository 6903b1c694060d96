package bundle

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// Format is the version of bundles that this program seals and opens.
const Format = 1

// Snapshot is the state of a workspace at one revision: all that a gateway decides from. Everything in it belongs to
// that workspace.
type Snapshot struct {
	// Format is the version of the form; Seal writes the constant.
	Format int `json:"-"`
	// Critical names members of the snapshot that a gateway must understand to enforce it. One that does not know
	// such a name refuses the bundle; what is not named here and not known is ignored.
	Critical   []string `json:"-"`
	Deployment string   `json:"-"`
	Timeline   string   `json:"-"`
	Revision   uint64   `json:"-"` // from 1
	// IssuedAt is when the bundle was sealed, in whole seconds of UTC. It is not part of the state, which has the
	// same digest whenever it is sealed.
	IssuedAt time.Time `json:"-"`

	Head
	Principals []authority.Principal `json:"principals"`
	// Mandates are those that hold or will, and those that ended not long ago, so that their end can be told.
	Mandates  []authority.Mandate `json:"mandates"`
	AgentKeys []AgentKey          `json:"agent_keys"`
}

// Head is what of a workspace's state is told whole whenever it changes: everything but its long lists.
type Head struct {
	// Workspace is the workspace; its revision is that of the snapshot or delta.
	Workspace authority.Workspace `json:"workspace"`
	// ActivePolicies is how many authority policies are active; the policies themselves stay at the control plane.
	ActivePolicies int                     `json:"active_policies"`
	Destinations   []authority.Destination `json:"destinations"`
	// Rego is the active version of the workspace's policy, nil when there is none.
	Rego *authority.RegoVersion `json:"rego"`
	// ClientAuthorities vouch for the client certificates that identify callers. A gateway that does not know them
	// identifies nobody by one.
	ClientAuthorities []authority.ClientAuthority `json:"client_authorities,omitempty"`
	// TrustedIssuers are those whose tokens identify callers, with their keys. A gateway that does not know them
	// identifies nobody by one.
	TrustedIssuers []token.TrustedIssuer `json:"trusted_issuers,omitempty"`
	// Envoy is the configuration for the gateway's Envoy, in a form that only its builder and its reader know.
	Envoy []byte `json:"envoy"`
}

// understood reports whether this program knows what a critical member means.
func understood(member string) bool {
	switch member {
	case "workspace", "principals", "mandates", "active_policies", "agent_keys", "destinations", "rego", "envoy", "client_authorities",
		"trusted_issuers":
		return true
	}
	return false
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

// check holds for every snapshot that is sealed or opened.
func (s Snapshot) check() error {
	if s.Deployment == "" || s.Timeline == "" || s.Workspace.ID == "" {
		return errors.New("a snapshot names its deployment, timeline and workspace")
	}
	if s.Revision == 0 {
		return errors.New("revisions begin at 1")
	}
	for _, err := range []error{
		distinct("principal", s.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID }),
		distinct("mandate", s.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID }),
		distinct("agent key", s.AgentKeys, func(k AgentKey) authority.KeyID { return k.ID }),
		distinct("client authority", s.ClientAuthorities, func(a authority.ClientAuthority) authority.ClientAuthorityID { return a.ID }),
		distinct("trusted issuer", s.TrustedIssuers, func(i token.TrustedIssuer) authority.TrustedIssuerID { return i.ID }),
		distinct("destination", s.Destinations, func(d authority.Destination) authority.DestinationID { return d.ID }),
	} {
		if err != nil {
			return err
		}
	}
	if !s.ownsAll() {
		return fmt.Errorf("something in the snapshot belongs to another workspace than %s", s.Workspace.ID)
	}
	return nil
}

func (s Snapshot) ownsAll() bool {
	own := s.Workspace.ID
	return !slices.ContainsFunc(s.Principals, func(p authority.Principal) bool { return p.WorkspaceID != own }) &&
		!slices.ContainsFunc(s.ClientAuthorities, func(a authority.ClientAuthority) bool { return a.WorkspaceID != own }) &&
		!slices.ContainsFunc(s.Mandates, func(m authority.Mandate) bool { return m.WorkspaceID != own }) &&
		!slices.ContainsFunc(s.Destinations, func(d authority.Destination) bool { return d.WorkspaceID != own }) &&
		!slices.ContainsFunc(s.TrustedIssuers, func(i token.TrustedIssuer) bool { return i.WorkspaceID != own }) &&
		(s.Rego == nil || s.Rego.WorkspaceID == own)
}

// distinct refuses a list in which two things have one id.
func distinct[T any, ID ~string](what string, list []T, id func(T) ID) error {
	seen := make(map[ID]bool, len(list))
	for _, item := range list {
		if seen[id(item)] {
			return fmt.Errorf("%s %s occurs twice", what, id(item))
		}
		seen[id(item)] = true
	}
	return nil
}
