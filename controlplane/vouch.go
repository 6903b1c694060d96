package controlplane

import "bytes"

// Gave reports whether the gateway was given a state under a revision, or would need none to have it.
func (f *Feed) Gave(revision uint64, digest []byte) bool {
	i := f.image
	i.mu.Lock()
	defer i.mu.Unlock()
	is := func(p Position) bool { return p.Revision == revision && bytes.Equal(p.Digest, digest) }
	for _, g := range f.outstanding {
		if is(g.at) {
			return true
		}
	}
	return i.at.Revision != 0 && is(i.at)
}

// Continues reports whether the present state is the one at a position, or what came of it by changes that this replica has
// made.
func (f *Feed) Continues(p Position) bool {
	i := f.image
	i.mu.Lock()
	defer i.mu.Unlock()
	_, leads := i.steps.leads(p, i.at)
	return i.at.Revision != 0 && leads
}
