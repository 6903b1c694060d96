package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// Head is what of a workspace's state is told whole whenever it changes: everything but its long lists. A member that a
// later version adds is left out while it is empty, so that planes of different versions agree on the digest of a state.
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

// The members of the head, as Delta.Members names them.
const (
	MemberWorkspace         = "workspace"
	MemberActivePolicies    = "active_policies"
	MemberDestinations      = "destinations"
	MemberRego              = "rego"
	MemberClientAuthorities = "client_authorities"
	MemberTrustedIssuers    = "trusted_issuers"
	MemberEnvoy             = "envoy"
)

// understood reports whether this program knows what a critical member means.
func understood(member string) bool {
	switch member {
	case MemberWorkspace, MemberActivePolicies, MemberDestinations, MemberRego, MemberClientAuthorities, MemberTrustedIssuers, MemberEnvoy,
		string(KindPrincipal), string(KindMandate), string(KindAgentKey):
		return true
	}
	return false
}

// encodeHead gives the content of a head and the digests of its members. The revision is the manifest's to tell: it
// changes with everything.
func encodeHead(h Head) (content []byte, members map[string]Digest, err error) {
	h.Workspace.Revision = 0
	if content, err = json.Marshal(h); err != nil {
		return nil, nil, fmt.Errorf("encode head: %w", err)
	}
	raw, err := rawMembers(content)
	return content, memberDigests(raw), err
}

// rawMembers takes a head apart.
func rawMembers(content []byte) (map[string]json.RawMessage, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(content, &raw); err != nil || raw == nil {
		return nil, fmt.Errorf("read head: it is not a JSON object (%w)", err)
	}
	return raw, nil
}

// memberDigests are the digests of a head's members, known or not. An empty member is no item.
func memberDigests(raw map[string]json.RawMessage) map[string]Digest {
	members := make(map[string]Digest, len(raw))
	for name, content := range raw {
		if !isNull(content) {
			members[name] = digestOf(KindHead, name, content)
		}
	}
	return members
}

func isNull(content json.RawMessage) bool { return bytes.Equal(content, []byte("null")) }

// decodeHead reads the members of a head that this program knows. Those that it does not are ignored. Numbers of the
// policy's data keep their digits.
func decodeHead(content []byte, revision uint64) (Head, error) {
	var h Head
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&h); err != nil {
		return Head{}, fmt.Errorf("read head: %w", err)
	}
	h.Workspace.Revision = revision
	return h, nil
}

// check holds for every head that is sealed or opened, of a workspace.
func (h Head) check(own authority.WorkspaceID) error {
	for _, err := range []error{
		distinct("client authority", h.ClientAuthorities, func(a authority.ClientAuthority) authority.ClientAuthorityID { return a.ID }),
		distinct("trusted issuer", h.TrustedIssuers, func(i token.TrustedIssuer) authority.TrustedIssuerID { return i.ID }),
		distinct("destination", h.Destinations, func(d authority.Destination) authority.DestinationID { return d.ID }),
	} {
		if err != nil {
			return err
		}
	}
	if slices.ContainsFunc(h.ClientAuthorities, func(a authority.ClientAuthority) bool { return a.WorkspaceID != own }) ||
		slices.ContainsFunc(h.Destinations, func(d authority.Destination) bool { return d.WorkspaceID != own }) ||
		slices.ContainsFunc(h.TrustedIssuers, func(i token.TrustedIssuer) bool { return i.WorkspaceID != own }) ||
		h.Rego != nil && h.Rego.WorkspaceID != own {
		return fmt.Errorf("something in the head belongs to another workspace than %s", own)
	}
	return nil
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
