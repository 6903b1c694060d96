package extauthz

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// shardSize is how many mandates are in a shard on average, at most, when a table is made: those that a change of one of
	// them copies.
	shardSize = 512
	// slack is how many values a glossary may have beside twice those that it began with, before it is made anew.
	slack = 4096
)

// mandates is a table of all mandates of a workspace. It never changes; apply gives another one, which shares with it what
// is the same.
type mandates struct {
	owner    authority.WorkspaceID
	keys     *token.KeySet
	shards   []*shard // a power of two; in the order of their keys, which begin with the number of the shard
	count    int
	odd      shards[authority.MandateID, oddMandate] // those that cannot be made compact
	subjects *subjects
	meanings meanings
	glossary *glossary
	began    int // how many values the glossary had when it was made
}

// shard holds mandates in the order of their keys. The bits say whose signature has been verified by the table's key set.
type shard struct {
	records  []compact
	verified []atomic.Uint32
}

// oddMandate is kept as it came.
type oddMandate struct {
	authority.Mandate
	verified *atomic.Bool
}

func newShard(records []compact) *shard {
	return &shard{records: records, verified: make([]atomic.Uint32, (len(records)+31)/32)}
}

func (s *shard) isVerified(i int) bool { return s.verified[i/32].Load()&(1<<(i%32)) != 0 }

func (s *shard) setVerified(i int) { s.verified[i/32].Or(1 << (i % 32)) }

// find is where the mandate with a key is, or would be. Records are large: none is copied for it.
func (s *shard) find(k key) (int, bool) {
	from, to := 0, len(s.records)
	for from < to {
		if at := int(uint(from+to) >> 1); s.records[at].id.compare(k) < 0 {
			from = at + 1
		} else {
			to = at
		}
	}
	return from, from < len(s.records) && s.records[from].id == k
}

// shardBits is by how many bits of their keys so many mandates are told apart.
func shardBits(count int) int {
	return bits.Len(uint(max(count-1, 0) / shardSize))
}

// at is the number of the shard that a key belongs to.
func (t *mandates) at(k key) int {
	return int(k.high >> (64 - bits.TrailingZeros(uint(len(t.shards)))))
}

// mandatesBuilder makes a table of mandates that come in the order of their ids.
type mandatesBuilder struct {
	table   *mandates
	pending []compact
	known   []bool // which of them are verified
	filling int    // the shard that is pending
	seed    maphash.Seed
	places  []place
}

func newMandatesBuilder(owner authority.WorkspaceID, keys *token.KeySet, count int) *mandatesBuilder {
	t := &mandates{owner: owner, keys: keys, shards: make([]*shard, 1<<shardBits(count)), glossary: newGlossary()}
	t.odd = newShards[authority.MandateID, oddMandate](0)
	return &mandatesBuilder{table: t, seed: maphash.MakeSeed(), places: make([]place, 0, count)}
}

func (b *mandatesBuilder) add(item bundle.Item[authority.Mandate]) {
	b.table.count++
	c, ok := b.table.glossary.compact(item.Value, item.Digest)
	if !ok {
		b.table.odd.put(item.Value.ID, oddMandate{item.Value, new(atomic.Bool)}, item.Digest)
		return
	}
	b.take(c, false)
}

func (b *mandatesBuilder) take(c compact, verified bool) {
	if at := b.table.at(c.id); at != b.filling {
		b.fill(at)
	}
	b.pending, b.known = append(b.pending, c), append(b.known, verified)
	if c.listed() {
		b.places = append(b.places, placeOf(b.seed, b.table.glossary.principals.values[c.subject], c.id))
	}
}

// fill makes the shards before the next.
func (b *mandatesBuilder) fill(next int) {
	for ; b.filling < next; b.filling++ {
		s := newShard(append(make([]compact, 0, len(b.pending)), b.pending...))
		for i, verified := range b.known {
			if verified {
				s.setVerified(i)
			}
		}
		b.table.shards[b.filling] = s
		b.pending, b.known = b.pending[:0], b.known[:0]
	}
}

func (b *mandatesBuilder) done() *mandates {
	b.fill(len(b.table.shards))
	b.table.meanings = b.table.glossary.meanings()
	b.table.began = b.table.glossary.entries()
	b.table.subjects = newSubjects(b.seed, b.places)
	return b.table
}

// get finds a mandate. Its signature is left out.
func (t *mandates) get(id authority.MandateID) (authority.Mandate, bool) {
	if k, ok := keyOf(id); ok {
		s := t.shards[t.at(k)]
		if i, ok := s.find(k); ok {
			return t.meanings.expand(&s.records[i], id, t.owner), true
		}
	}
	odd, ok := t.odd.get(id)
	odd.Signature = ""
	return odd.Mandate, ok
}

// verify checks the signature of a mandate of the table, once in the life of the key set.
func (t *mandates) verify(id authority.MandateID) error {
	if k, ok := keyOf(id); ok {
		s := t.shards[t.at(k)]
		if i, ok := s.find(k); ok {
			return t.verifyAt(s, i, id)
		}
	}
	odd, ok := t.odd.get(id)
	if !ok {
		return token.ErrMandateTerms
	}
	if odd.verified.Load() {
		return nil
	}
	err := t.keys.VerifyMandate(odd.Mandate)
	if err == nil {
		odd.verified.Store(true)
	}
	return err
}

func (t *mandates) verifyAt(s *shard, i int, id authority.MandateID) error {
	if s.isVerified(i) {
		return nil
	}
	m := t.meanings.expand(&s.records[i], id, t.owner)
	m.Signature = t.meanings.signed(&s.records[i])
	err := t.keys.VerifyMandate(m)
	if err == nil {
		s.setVerified(i)
	}
	return err
}

// edit is what becomes of one mandate.
type edit struct {
	compact
	gone bool
}

// apply gives the table after some changes, which it tells the digest of a state. What they do not touch is shared.
func (t *mandates) apply(changes bundle.Changes[authority.Mandate, authority.MandateID], state *bundle.State) *mandates {
	if len(changes.Set) == 0 && len(changes.Removed) == 0 {
		return t
	}
	next := *t
	next.shards = slices.Clone(t.shards)
	next.odd = t.odd.clone()
	edits, crowded := next.edits(changes, state)
	moves := make([]move, 0, 2*len(edits))
	for len(edits) > 0 {
		at := next.at(edits[0].id)
		end := 1
		for end < len(edits) && next.at(edits[end].id) == at {
			end++
		}
		before := next.shards[at]
		next.shards[at] = before.merge(edits[:end], state, func(c *compact, gone bool) {
			if c.listed() {
				moves = append(moves, move{placeOf(t.subjects.seed, next.meanings.principals[c.subject], c.id), gone})
			}
		})
		next.count += len(next.shards[at].records) - len(before.records)
		edits = edits[end:]
	}
	if crowded || next.count > 2*shardSize*len(next.shards) {
		return next.rebuild()
	}
	next.subjects = t.subjects.apply(moves)
	return &next
}

// edits are the changes in the order of their keys; those of mandates that are not compact are made at once. It reports
// whether the glossary has come to hold much that may not be used any more.
func (t *mandates) edits(changes bundle.Changes[authority.Mandate, authority.MandateID], state *bundle.State) (edits []edit, crowded bool) {
	t.glossary.Lock()
	defer t.glossary.Unlock()
	edits = make([]edit, 0, len(changes.Set)+len(changes.Removed))
	for _, item := range changes.Set {
		t.dropOdd(item.Value.ID, state)
		c, ok := t.glossary.compact(item.Value, item.Digest)
		if ok {
			edits = append(edits, edit{compact: c})
			continue
		}
		t.odd.put(item.Value.ID, oddMandate{item.Value, new(atomic.Bool)}, item.Digest)
		state.Add(item.Digest)
		t.count++
		if k, ok := keyOf(item.Value.ID); ok {
			edits = append(edits, edit{compact{id: k}, true})
		}
	}
	for _, id := range changes.Removed {
		t.dropOdd(id, state)
		if k, ok := keyOf(id); ok {
			edits = append(edits, edit{compact{id: k}, true})
		}
	}
	t.meanings = t.glossary.meanings()
	slices.SortFunc(edits, func(a, b edit) int { return a.id.compare(b.id) })
	return edits, t.glossary.entries() > 2*t.began+slack
}

func (t *mandates) dropOdd(id authority.MandateID, state *bundle.State) {
	if digest, ok := t.odd.remove(id); ok {
		state.Remove(digest)
		t.count--
	}
}

// merge gives the shard after its edits, of which each key has one at most, and tells of each record that goes or comes.
// What was verified of the rest still is.
func (s *shard) merge(edits []edit, state *bundle.State, tell func(c *compact, gone bool)) *shard {
	next := &shard{records: make([]compact, 0, len(s.records)+len(edits))}
	next.verified = make([]atomic.Uint32, (cap(next.records)+31)/32)
	i := 0
	keep := func() {
		if s.isVerified(i) {
			next.setVerified(len(next.records))
		}
		next.records = append(next.records, s.records[i])
		i++
	}
	for _, e := range edits {
		for i < len(s.records) && s.records[i].id.compare(e.id) < 0 {
			keep()
		}
		if i < len(s.records) && s.records[i].id == e.id {
			state.Remove(s.records[i].digest)
			tell(&s.records[i], true)
			i++
		}
		if !e.gone {
			state.Add(e.digest)
			next.records = append(next.records, e.compact)
			tell(&e.compact, false)
		}
	}
	for i < len(s.records) {
		keep()
	}
	return next
}

// rebuild gives the same mandates in shards of the right size, with a glossary of what they use and nothing else.
func (t *mandates) rebuild() *mandates {
	b := newMandatesBuilder(t.owner, t.keys, t.count)
	b.table.odd, b.table.count = t.odd.clone(), t.count
	for _, s := range t.shards {
		for i := range s.records {
			c := &s.records[i]
			m := t.meanings.expand(c, c.id.id(), t.owner)
			m.Signature = t.meanings.signed(c)
			if again, ok := b.table.glossary.compact(m, c.digest); ok {
				b.take(again, s.isVerified(i))
			} else {
				b.table.odd.put(m.ID, oddMandate{m, new(atomic.Bool)}, c.digest)
			}
		}
	}
	return b.done()
}

// under gives the same mandates, to be verified by another key set.
func (t *mandates) under(keys *token.KeySet) *mandates {
	next := *t
	next.keys = keys
	next.shards = make([]*shard, len(t.shards))
	for i, s := range t.shards {
		next.shards[i] = newShard(s.records)
	}
	next.odd = t.odd.clone()
	for id, odd := range t.odd.all() {
		next.odd.put(id, oddMandate{odd.value.Mandate, new(atomic.Bool)}, odd.digest)
	}
	return &next
}
