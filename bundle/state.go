package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/bits"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// Digest identifies a state, or one item of it.
type Digest [sha256.Size]byte

// State is the digest of a set of items, kept up to date as they come and go: the sum of their digests, so that it does
// not depend on the order in which they came. The zero State is that of no items. It finds differences between two
// planes that mean to have the same state; that nobody else made it is for the signatures of bundles to say.
type State struct {
	words [4]uint64 // little-endian
}

// Add takes an item in.
func (s *State) Add(item Digest) {
	var carry uint64
	for i := range s.words {
		s.words[i], carry = bits.Add64(s.words[i], binary.LittleEndian.Uint64(item[8*i:]), carry)
	}
}

// Remove takes an item out that was added.
func (s *State) Remove(item Digest) {
	var borrow uint64
	for i := range s.words {
		s.words[i], borrow = bits.Sub64(s.words[i], binary.LittleEndian.Uint64(item[8*i:]), borrow)
	}
}

// Sum is the digest of the items that are in.
func (s State) Sum() Digest {
	var sum Digest
	for i, word := range s.words {
		binary.LittleEndian.PutUint64(sum[8*i:], word)
	}
	return sum
}

// Kind says which list of a state an item belongs to.
type Kind string

// The kinds of items. A member of the head is an item of its own, whose id is the member's name.
const (
	KindHead      Kind = "head"
	KindPrincipal Kind = "principals"
	KindMandate   Kind = "mandates"
	KindAgentKey  Kind = "agent_keys"
)

// Item is one thing of a state.
type Item[T any] struct {
	Value   T
	Content []byte // as it is sealed
	Digest  Digest // of kind, id and content
}

// PrincipalItem encodes a principal.
func PrincipalItem(p authority.Principal) (Item[authority.Principal], error) {
	return encode(KindPrincipal, string(p.ID), p)
}

// MandateItem encodes a mandate. What its signature repeats of its terms is left out: see token.DetachMandate.
func MandateItem(m authority.Mandate) (Item[authority.Mandate], error) {
	m.Signature = token.DetachMandate(m.Signature)
	return encode(KindMandate, string(m.ID), m)
}

// AgentKeyItem encodes an agent's key.
func AgentKeyItem(k AgentKey) (Item[AgentKey], error) {
	return encode(KindAgentKey, string(k.ID), k)
}

func encode[T any](kind Kind, id string, value T) (Item[T], error) {
	content, err := json.Marshal(value)
	if err != nil {
		return Item[T]{}, refuse(CodeInvalid, "encode %s %s: %w", kind, id, err)
	}
	return Item[T]{Value: value, Content: content, Digest: digestOf(kind, id, content)}, nil
}

// digestOf is the digest of an item. No two items are written alike: a kind and an id are behind their lengths.
func digestOf(kind Kind, id string, content []byte) Digest {
	input := make([]byte, 0, 8+len(kind)+len(id)+len(content))
	for _, name := range []string{string(kind), id} {
		input = binary.BigEndian.AppendUint32(input, uint32(len(name)))
		input = append(input, name...)
	}
	return sha256.Sum256(append(input, content...))
}
