package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// Builder seals a snapshot item by item, so that no list has to be in memory as a whole. It keeps what it was given
// compressed. The lists come in the order principals, mandates, agent keys, and each in the ascending order of its ids.
type Builder struct {
	about      Snapshot // without its lists
	state      State
	parts      []part
	sealed     [][]byte // the parts as they are sent
	encoder    *zstd.Encoder
	order      order
	pending    bytes.Buffer // the part that is not full yet
	pendingOf  Kind
	pendingNum int
}

// NewBuilder begins the snapshot of a state with its head. The lists in it are not looked at.
func NewBuilder(s Snapshot) (*Builder, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("seal bundle: %w", err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("seal bundle: %w", err)
	}
	s.Principals, s.Mandates, s.AgentKeys = nil, nil, nil
	b := &Builder{about: s, encoder: encoder, order: order{workspace: s.Workspace.ID}}
	content, members, err := encodeHead(s.Head)
	if err != nil {
		return nil, fmt.Errorf("seal bundle: %w", err)
	}
	for _, digest := range members {
		b.state.Add(digest)
	}
	b.pending.Write(content)
	b.pendingOf, b.pendingNum = KindHead, 1
	return b, b.full()
}

// Principal adds a principal.
func (b *Builder) Principal(i Item[authority.Principal]) error {
	return b.add(KindPrincipal, string(i.Value.ID), i.Value.WorkspaceID, i.Content, i.Digest)
}

// Mandate adds a mandate.
func (b *Builder) Mandate(i Item[authority.Mandate]) error {
	return b.add(KindMandate, string(i.Value.ID), i.Value.WorkspaceID, i.Content, i.Digest)
}

// AgentKey adds an agent's key.
func (b *Builder) AgentKey(i Item[AgentKey]) error {
	return b.add(KindAgentKey, string(i.Value.ID), b.about.Workspace.ID, i.Content, i.Digest)
}

func (b *Builder) add(kind Kind, id string, owner authority.WorkspaceID, content []byte, digest Digest) error {
	if err := b.order.admits(kind, id, owner); err != nil {
		return fmt.Errorf("seal bundle: %w", err)
	}
	if kind != b.pendingOf || b.pending.Len()+len(content) >= partSize {
		if err := b.full(); err != nil {
			return err
		}
	}
	b.pendingOf = kind
	b.pendingNum++
	b.pending.Write(content)
	b.pending.WriteByte('\n')
	b.state.Add(digest)
	return nil
}

// full compresses the pending part.
func (b *Builder) full() error {
	if b.pendingNum == 0 {
		return nil
	}
	if b.pending.Len() > maxPart || len(b.parts) == maxParts {
		return fmt.Errorf("seal bundle: %d bytes of %s in part %d exceed the limits of a bundle", b.pending.Len(), b.pendingOf, len(b.parts)+1)
	}
	sealed := b.encoder.EncodeAll(b.pending.Bytes(), nil)
	digest := sha256.Sum256(sealed)
	b.parts = append(b.parts, part{
		Kind: b.pendingOf, Items: b.pendingNum, Digest: digest[:], Sent: uint64(len(sealed)), Size: uint64(b.pending.Len()),
	})
	b.sealed = append(b.sealed, sealed)
	b.pending.Reset()
	b.pendingNum = 0
	return nil
}

// Digest is that of the state of what was added.
func (b *Builder) Digest() Digest { return b.state.Sum() }

// Write signs what was added and writes the sealed snapshot. key is a bundle key in keySet, which the workspace's root has
// sealed. It may be written more than once, at another time and by another key too.
func (b *Builder) Write(w io.Writer, key token.SigningKey, keySet string) error {
	if err := b.write(w, key, keySet); err != nil {
		return fmt.Errorf("seal bundle: %w", err)
	}
	return nil
}

func (b *Builder) write(w io.Writer, key token.SigningKey, keySet string) error {
	if err := b.full(); err != nil {
		return err
	}
	if len(keySet) > token.MaxKeySet {
		return errors.New("the key set exceeds its limit")
	}
	sum := b.state.Sum()
	body, err := json.Marshal(manifest{
		Format: Format, Critical: b.about.Critical, Timeline: b.about.Timeline, Revision: b.about.Revision,
		State: sum[:], Encoding: encoding, Parts: b.parts,
	})
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	signed, err := token.SignManifest(key, token.Manifest{
		Kind: token.ManifestSnapshot, Deployment: b.about.Deployment, Workspace: b.about.Workspace.ID, IssuedAt: b.about.IssuedAt, Body: body,
	})
	if err != nil {
		return err
	}
	if err := writePreamble(w, magic, signed, keySet); err != nil {
		return err
	}
	for _, sealed := range b.sealed {
		if _, err := w.Write(sealed); err != nil {
			return err
		}
	}
	return nil
}

// size is how many bytes the parts take.
func (b *Builder) size() (size int) {
	for _, sealed := range b.sealed {
		size += len(sealed)
	}
	return size
}

// Seal makes the sealed form of a snapshot. key is a bundle key in keySet, which the workspace's root has sealed. The
// lists may be in any order.
func Seal(s Snapshot, key token.SigningKey, keySet string) (Sealed, error) {
	b, err := NewBuilder(s)
	if err != nil {
		return nil, err
	}
	for _, err := range []error{
		addAll(s.Principals, func(p authority.Principal) string { return string(p.ID) }, PrincipalItem, b.Principal),
		addAll(s.Mandates, func(m authority.Mandate) string { return string(m.ID) }, MandateItem, b.Mandate),
		addAll(s.AgentKeys, func(k AgentKey) string { return string(k.ID) }, AgentKeyItem, b.AgentKey),
		b.full(),
	} {
		if err != nil {
			return nil, err
		}
	}
	sealed := bytes.NewBuffer(make([]byte, 0, b.size()+len(keySet)+token.MaxManifest))
	if err := b.Write(sealed, key, keySet); err != nil {
		return nil, err
	}
	if sealed.Len() > MaxSealed {
		return nil, fmt.Errorf("seal bundle: %d bytes exceed the limit of a bundle", sealed.Len())
	}
	return sealed.Bytes(), nil
}

// addAll adds a list in the order of its ids.
func addAll[T any](list []T, id func(T) string, item func(T) (Item[T], error), add func(Item[T]) error) error {
	inOrder := func(a, b T) int { return cmp.Compare(id(a), id(b)) }
	if !slices.IsSortedFunc(list, inOrder) {
		list = slices.SortedFunc(slices.Values(list), inOrder)
	}
	for _, value := range list {
		encoded, err := item(value)
		if err != nil {
			return err
		}
		if err := add(encoded); err != nil {
			return err
		}
	}
	return nil
}

// order holds the items of a snapshot to their order: one list after the other, ascending ids, so that none is there
// twice, and all of one workspace.
type order struct {
	workspace authority.WorkspaceID
	list      int // how many lists have begun
	last      string
}

// lists are the kinds of items in their order.
var lists = [...]Kind{KindPrincipal, KindMandate, KindAgentKey}

func (o *order) admits(kind Kind, id string, owner authority.WorkspaceID) error {
	at := slices.Index(lists[:], kind) + 1
	switch {
	case at == 0:
		return fmt.Errorf("%q is not a list of a bundle", kind)
	case owner != o.workspace:
		return fmt.Errorf("%s %s belongs to another workspace than %s", kind, id, o.workspace)
	case id == "":
		return fmt.Errorf("an item of %s has no id", kind)
	case at < o.list, at == o.list && id <= o.last:
		return fmt.Errorf("%s %s is out of order, or there twice", kind, id)
	}
	o.list, o.last = at, id
	return nil
}
