package authority

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// KeyKind says what an API key is for, and thereby what it may do.
type KeyKind string

// The kinds of API keys.
const (
	KeyMember  KeyKind = "member"  // a member: what its role allows, within the key's own
	KeyAgent   KeyKind = "agent"   // an agent principal: its own authority and nothing else
	KeyService KeyKind = "service" // a service principal: its own authority and nothing else
	KeyGateway KeyKind = "gateway" // a gateway: the sync of its one workspace
)

// KeyOwner is what the text of keys for owners says that were made before there were other members.
const KeyOwner KeyKind = "owner"

// KeyKinds lists every kind.
func KeyKinds() []KeyKind { return []KeyKind{KeyMember, KeyAgent, KeyService, KeyGateway} }

// OfPrincipal is the kind of the keys of a type of principal.
func OfPrincipal(t PrincipalType) KeyKind {
	switch t {
	case User:
		return KeyMember
	case Agent:
		return KeyAgent
	case Service:
		return KeyService
	}
	return ""
}

// IsOwn reports whether a key of this kind is for its holder's own affairs and nothing else.
func (k KeyKind) IsOwn() bool { return k == KeyAgent || k == KeyService }

// Key describes an API key. The key itself is told once, when it is made; only its hash is kept. Its terms never change.
type Key struct {
	ID          KeyID       `json:"key_id"`
	WorkspaceID WorkspaceID `json:"workspace_id"`
	Kind        KeyKind     `json:"kind"`
	Name        string      `json:"name"`
	PrincipalID PrincipalID `json:"principal_id,omitempty"` // empty for a gateway's key
	// Role caps what a member's key may do; empty leaves all that the member may.
	Role Role `json:"role,omitempty"`
	// Workspaces are those beyond its own that a member's key opens, where the same person is a member.
	Workspaces []string `json:"workspaces"`
	// AllowedNetworks are where the key may be used from; empty means anywhere.
	AllowedNetworks []netip.Prefix `json:"allowed_networks"`
	CreatedAt       time.Time      `json:"created_at"`
	ExpiresAt       *time.Time     `json:"expires_at"`
	RevokedAt       *time.Time     `json:"revoked_at"`
	// LastUsedAt is when the key was last used, as far as that has been written down; nil before the first time.
	LastUsedAt *time.Time `json:"last_used_at"`
	// Replaces is the key that this one was rotated from; empty where there was none.
	Replaces KeyID `json:"replaces,omitempty"`
	// SingleUse says that a gateway's key enrols one process only, and is good for that one alone.
	SingleUse bool `json:"single_use,omitempty"`
}

// Admits reports whether one of the networks holds an address. No networks admit every address; an address that is not
// known is in none.
func Admits(networks []netip.Prefix, from netip.Addr) bool {
	if len(networks) == 0 {
		return true
	}
	from = from.Unmap().WithZone("")
	for _, network := range networks {
		if network.Contains(from) {
			return true
		}
	}
	return false
}

// NetworksWithin reports whether every address that some networks admit is admitted by others.
func NetworksWithin(inner, outer []netip.Prefix) bool {
	if len(outer) == 0 {
		return true
	}
	for _, network := range inner {
		if !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= network.Bits() && o.Contains(network.Addr()) }) {
			return false
		}
	}
	return len(inner) > 0
}

// maxNetworks is how many networks a key may be bound to.
const maxNetworks = 64

// ParseNetworks reads networks, each written as a prefix such as 192.0.2.0/24 or as a single address. The error is an
// invalid_request whose Field is the place in the list.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	if len(texts) > maxNetworks {
		return nil, Invalid("", "has more than %d entries", maxNetworks)
	}
	networks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		at := fmt.Sprintf("[%d]", i)
		switch {
		case err != nil:
			return nil, Invalid(at, "%q is not a network such as 192.0.2.0/24", clip(text))
		case network.Addr().Is4In6():
			return nil, Invalid(at, "is an IPv4 network written as IPv6; write it as IPv4")
		case network != network.Masked():
			return nil, Invalid(at, "has bits set behind its length; write %s", network.Masked())
		}
		networks[i] = network
	}
	return networks, nil
}
