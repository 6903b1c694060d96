package extauthz

import (
	"hash/maphash"
	"iter"
	"maps"
	"math/bits"

	"github.com/caracal-gateway/caracal/bundle"
)

// mapSize is how many entries a map of shards has on average, at most, when it is made.
const mapSize = 256

// shards is a map in parts. A clone shares them all; what is changed in it is copied first, so that a change costs as much
// as one part does.
type shards[K ~string, V any] struct {
	seed  maphash.Seed
	parts []map[K]entry[V] // a power of two
	own   []bool           // which parts are not shared
	count int
}

type entry[V any] struct {
	value  V
	digest bundle.Digest // of the item
}

func newShards[K ~string, V any](count int) shards[K, V] {
	n := 1 << bits.Len(uint(max(count-1, 0)/mapSize))
	s := shards[K, V]{seed: maphash.MakeSeed(), parts: make([]map[K]entry[V], n), own: make([]bool, n)}
	for i := range s.parts {
		s.parts[i], s.own[i] = make(map[K]entry[V], count/n), true
	}
	return s
}

func (s *shards[K, V]) at(id K) int {
	return int(maphash.String(s.seed, string(id)) & uint64(len(s.parts)-1))
}

func (s *shards[K, V]) get(id K) (V, bool) {
	e, ok := s.parts[s.at(id)][id]
	return e.value, ok
}

// clone gives a map of the same entries. Neither of the two shows a change of the other, if this one is not changed again.
func (s *shards[K, V]) clone() shards[K, V] {
	next := *s
	next.parts = append([]map[K]entry[V](nil), s.parts...)
	next.own = make([]bool, len(s.parts))
	return next
}

// part is the part that an id belongs to, to be changed.
func (s *shards[K, V]) part(id K) map[K]entry[V] {
	at := s.at(id)
	if !s.own[at] {
		s.parts[at], s.own[at] = maps.Clone(s.parts[at]), true
	}
	return s.parts[at]
}

// put sets an entry, and gives the digest of the item that was there.
func (s *shards[K, V]) put(id K, value V, digest bundle.Digest) (before bundle.Digest, replaced bool) {
	if s.count > 4*mapSize*len(s.parts) {
		*s = s.spread()
	}
	part := s.part(id)
	e, replaced := part[id]
	if !replaced {
		s.count++
	}
	part[id] = entry[V]{value, digest}
	return e.digest, replaced
}

// remove takes an entry out, and gives the digest of its item.
func (s *shards[K, V]) remove(id K) (digest bundle.Digest, removed bool) {
	if _, ok := s.get(id); !ok {
		return bundle.Digest{}, false
	}
	part := s.part(id)
	digest = part[id].digest
	delete(part, id)
	s.count--
	return digest, true
}

// spread gives the same entries in as many parts as they need.
func (s *shards[K, V]) spread() shards[K, V] {
	next := newShards[K, V](s.count)
	for id, e := range s.all() {
		next.parts[next.at(id)][id] = e
	}
	next.count = s.count
	return next
}

// all are the entries, in no order.
func (s *shards[K, V]) all() iter.Seq2[K, entry[V]] {
	return func(yield func(K, entry[V]) bool) {
		for _, part := range s.parts {
			for id, e := range part {
				if !yield(id, e) {
					return
				}
			}
		}
	}
}

// apply gives the map after changes of a list, which it tells the digest of a state.
func apply[K ~string, V any](s shards[K, V], changes bundle.Changes[V, K], id func(V) K, state *bundle.State) shards[K, V] {
	if len(changes.Set) == 0 && len(changes.Removed) == 0 {
		return s
	}
	next := s.clone()
	for _, item := range changes.Set {
		if before, replaced := next.put(id(item.Value), item.Value, item.Digest); replaced {
			state.Remove(before)
		}
		state.Add(item.Digest)
	}
	for _, gone := range changes.Removed {
		if digest, removed := next.remove(gone); removed {
			state.Remove(digest)
		}
	}
	return next
}
