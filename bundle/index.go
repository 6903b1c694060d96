package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// Index knows the digest of each item of a state. By it the control plane tells what a change changes. It is for one
// goroutine at a time.
type Index struct {
	workspace authority.WorkspaceID
	state     State
	items     map[Kind]map[string]Digest
}

// NewIndex makes the index of a snapshot's state.
func NewIndex(s Snapshot) (*Index, error) {
	x := &Index{workspace: s.Workspace.ID, items: map[Kind]map[string]Digest{
		KindHead:      {},
		KindPrincipal: make(map[string]Digest, len(s.Principals)),
		KindMandate:   make(map[string]Digest, len(s.Mandates)),
		KindAgentKey:  make(map[string]Digest, len(s.AgentKeys)),
	}}
	_, members, err := x.members(s.Head)
	if err != nil {
		return nil, fmt.Errorf("index head: %w", err)
	}
	for name, digest := range members {
		x.put(KindHead, name, digest)
	}
	for _, err := range []error{
		putAll(x, KindPrincipal, s.Principals, PrincipalItem, func(p authority.Principal) string { return string(p.ID) }),
		putAll(x, KindMandate, s.Mandates, MandateItem, func(m authority.Mandate) string { return string(m.ID) }),
		putAll(x, KindAgentKey, s.AgentKeys, AgentKeyItem, func(k AgentKey) string { return string(k.ID) }),
	} {
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

func putAll[T any](x *Index, kind Kind, list []T, encode func(T) (Item[T], error), id func(T) string) error {
	for _, value := range list {
		item, err := encode(value)
		if err != nil {
			return err
		}
		x.put(kind, id(value), item.Digest)
	}
	return nil
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
	Head       *Head // nil where nothing of it has
	Principals Edit[authority.Principal, authority.PrincipalID]
	Mandates   Edit[authority.Mandate, authority.MandateID]
	AgentKeys  Edit[AgentKey, authority.KeyID]
}

// Delta moves the index on by the edits and gives what they change, with the digests of before and after; where it is
// from, its revisions and when it is issued are for the caller to fill in. After an error the index is as before.
func (x *Index) Delta(e Edits) (Delta, error) {
	d := Delta{Workspace: x.workspace, FromDigest: x.state.Sum()}
	var err error
	if e.Head != nil {
		if d.Head, d.Members, err = x.members(*e.Head); err != nil {
			return Delta{}, fmt.Errorf("compare head: %w", err)
		}
	}
	if d.Principals, err = changesOf(x, KindPrincipal, e.Principals, PrincipalItem,
		func(p authority.Principal) (authority.PrincipalID, authority.WorkspaceID) { return p.ID, p.WorkspaceID }); err != nil {
		return Delta{}, err
	}
	if d.Mandates, err = changesOf(x, KindMandate, e.Mandates, MandateItem,
		func(m authority.Mandate) (authority.MandateID, authority.WorkspaceID) { return m.ID, m.WorkspaceID }); err != nil {
		return Delta{}, err
	}
	if d.AgentKeys, err = changesOf(x, KindAgentKey, e.AgentKeys, AgentKeyItem,
		func(k AgentKey) (authority.KeyID, authority.WorkspaceID) { return k.ID, x.workspace }); err != nil {
		return Delta{}, err
	}
	for name, digest := range d.Members {
		x.put(KindHead, name, digest)
	}
	take(x, KindPrincipal, d.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID })
	take(x, KindMandate, d.Mandates, func(m authority.Mandate) authority.MandateID { return m.ID })
	take(x, KindAgentKey, d.AgentKeys, func(k AgentKey) authority.KeyID { return k.ID })
	d.Digest = x.state.Sum()
	return d, nil
}

// members are the members of a head that differ from what the index knows.
func (x *Index) members(h Head) (Head, map[string]Digest, error) {
	if h.Workspace.ID != x.workspace {
		return Head{}, nil, fmt.Errorf("it is of another workspace than %s", x.workspace)
	}
	if err := h.check(x.workspace); err != nil {
		return Head{}, nil, err
	}
	_, members, err := encodeHead(h)
	if err != nil {
		return Head{}, nil, err
	}
	known := x.items[KindHead]
	changed := map[string]Digest{}
	for name, digest := range members {
		if known[name] != digest {
			changed[name] = digest
		}
	}
	for name := range known {
		if _, still := members[name]; !still {
			changed[name] = Digest{}
		}
	}
	return h, changed, nil
}

// changesOf are the items of a list that differ from what the index knows, in the order of their ids.
func changesOf[T any, ID ~string](
	x *Index, kind Kind, e Edit[T, ID], encode func(T) (Item[T], error), name func(T) (ID, authority.WorkspaceID),
) (Changes[T, ID], error) {
	var c Changes[T, ID]
	known := x.items[kind]
	named := make(map[ID]bool, len(e.Set)+len(e.Removed))
	for _, value := range e.Set {
		id, owner := name(value)
		if owner != x.workspace || id == "" || named[id] {
			return c, fmt.Errorf("compare %s: %q is twice among the changes, or of another workspace than %s", kind, id, x.workspace)
		}
		named[id] = true
		item, err := encode(value)
		if err != nil {
			return c, err
		}
		if known[string(id)] != item.Digest {
			c.Set = append(c.Set, item)
		}
	}
	for _, id := range e.Removed {
		if named[id] {
			return c, fmt.Errorf("compare %s: %s is twice among the changes", kind, id)
		}
		named[id] = true
		if _, ok := known[string(id)]; ok {
			c.Removed = append(c.Removed, id)
		}
	}
	slices.SortFunc(c.Set, func(a, b Item[T]) int {
		first, _ := name(a.Value)
		second, _ := name(b.Value)
		return strings.Compare(string(first), string(second))
	})
	slices.Sort(c.Removed)
	return c, nil
}

// take makes the index know the changes of a list.
func take[T any, ID ~string](x *Index, kind Kind, c Changes[T, ID], id func(T) ID) {
	for _, item := range c.Set {
		x.put(kind, string(id(item.Value)), item.Digest)
	}
	for _, gone := range c.Removed {
		x.put(kind, string(gone), Digest{})
	}
}

// put replaces what the index knows of one item; the zero Digest is that of none.
func (x *Index) put(kind Kind, id string, digest Digest) {
	known := x.items[kind]
	if before, ok := known[id]; ok {
		x.state.Remove(before)
		delete(known, id)
	}
	if digest != (Digest{}) {
		x.state.Add(digest)
		known[id] = digest
	}
}
