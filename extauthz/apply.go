package extauthz

import (
	"context"
	"fmt"
	"maps"
	"reflect"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// Apply gives the snapshot that comes of a delta, which has been opened for this one, and what that decides differently.
// It costs as much as the change is large. ctx bounds the time that a changed Rego policy takes to compile. The snapshot
// itself stays as it is. What does not lead to exactly the state that the delta promises is not applied: a
// *bundle.Error with bundle.CodeGap.
func (s *Snapshot) Apply(ctx context.Context, d bundle.Delta, keys token.KeySet) (*Snapshot, Change, error) {
	if d.Workspace != s.workspace.ID || d.Timeline != s.timeline || d.From != s.revision || d.FromDigest != s.Digest() {
		return nil, Change{}, bundle.Gap("the delta is not of revision %d", s.revision)
	}
	next := *s
	next.revision, next.issuedAt = d.Revision, d.IssuedAt
	if err := next.read(ctx, d.Head, func(member string) bool { _, ok := d.Members[member]; return ok }); err != nil {
		return nil, Change{}, fmt.Errorf("revision %d: %w", d.Revision, err)
	}
	next.workspace.Revision = d.Revision
	next.remember(d.Members)
	next.principals = apply(s.principals, d.Principals, func(p authority.Principal) authority.PrincipalID { return p.ID }, &next.state)
	next.agentKeys = apply(s.agentKeys, d.AgentKeys, func(k bundle.AgentKey) authority.KeyID { return k.ID }, &next.state)
	next.mandates = s.mandates.apply(d.Mandates, &next.state)
	if next.Digest() != d.Digest {
		return nil, Change{}, bundle.Gap("the delta to revision %d does not lead to the state that was signed", d.Revision)
	}
	change := s.changeOf(d)
	if !reflect.DeepEqual(keys, *s.keys) {
		next.rekey(keys)
		change.All = true
	}
	return &next, change, nil
}

// remember takes over the digests of the members of the head that changed.
func (s *Snapshot) remember(changed map[string]bundle.Digest) {
	if len(changed) == 0 {
		return
	}
	s.members = maps.Clone(s.members)
	for name, digest := range changed {
		if before, ok := s.members[name]; ok {
			s.state.Remove(before)
			delete(s.members, name)
		}
		if digest != (bundle.Digest{}) {
			s.state.Add(digest)
			s.members[name] = digest
		}
	}
}

// rekey lets nothing count as verified that was by other keys.
func (s *Snapshot) rekey(keys token.KeySet) {
	s.keys, s.tokens = &keys, &verified{keys: keys}
	s.mandates = s.mandates.under(s.keys)
}

// changeOf is what a delta decides differently. Of the head, the number of policies alone decides nothing. A key that is
// taken away or changed is that of a principal, whom it identified.
func (s *Snapshot) changeOf(d bundle.Delta) Change {
	var c Change
	for name := range d.Members {
		c.All = c.All || name != bundle.MemberActivePolicies
	}
	for _, item := range d.Mandates.Set {
		c.Mandates = append(c.Mandates, item.Value.ID)
	}
	for _, item := range d.Principals.Set {
		c.Principals = append(c.Principals, item.Value.ID)
	}
	for _, item := range d.AgentKeys.Set {
		c.Principals = s.appendHolder(c.Principals, item.Value.ID)
	}
	for _, id := range d.AgentKeys.Removed {
		c.Principals = s.appendHolder(c.Principals, id)
	}
	c.Mandates = append(c.Mandates, d.Mandates.Removed...)
	c.Principals = append(c.Principals, d.Principals.Removed...)
	return c
}

// appendHolder appends the principal whom a key has identified so far.
func (s *Snapshot) appendHolder(list []authority.PrincipalID, id authority.KeyID) []authority.PrincipalID {
	if key, ok := s.agentKeys.get(id); ok {
		return append(list, key.PrincipalID)
	}
	return list
}
