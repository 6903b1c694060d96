package bundle

import (
	"fmt"
	"slices"
)

// members lists what a head consists of.
func members() []string {
	return []string{
		MemberWorkspace, MemberActivePolicies, MemberDestinations, MemberRego, MemberClientAuthorities, MemberTrustedIssuers, MemberEnvoy,
	}
}

// Since tells all that the edits name as it is, whether it differs from what the index knows or not: for one whose state is
// an earlier one, of which the digest is all that is known. The edits have to name whatever has changed since, as it is now.
// The index stays as it is.
func (x *Index) Since(from Digest, e Edits) (Delta, error) {
	nothing := &Index{workspace: x.workspace, items: map[Kind]map[string]Digest{KindHead: {}, KindPrincipal: {}, KindMandate: {}, KindAgentKey: {}}}
	d, err := nothing.Delta(e)
	if err != nil {
		return Delta{}, fmt.Errorf("tell what changed since: %w", err)
	}
	if e.Head != nil {
		for _, name := range members() {
			if _, there := d.Members[name]; !there {
				d.Members[name] = Digest{}
			}
		}
	}
	d.Principals.Removed = ascending(e.Principals.Removed)
	d.Mandates.Removed = ascending(e.Mandates.Removed)
	d.AgentKeys.Removed = ascending(e.AgentKeys.Removed)
	d.FromDigest, d.Digest = from, x.state.Sum()
	return d, nil
}

func ascending[ID ~string](ids []ID) []ID { return slices.Sorted(slices.Values(ids)) }
