package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// MaxDelta is the size of the largest sealed delta, in bytes. What changes more than fits is told by a snapshot.
	MaxDelta = 4 << 20

	deltaMagic      = "CARADLT\x02"
	maxDeltaContent = 32 << 20 // before compression
)

// ErrDeltaTooLarge says that a change does not fit into a delta.
var ErrDeltaTooLarge = errors.New("the change exceeds the limit of a delta")

// Delta is what changes a state at one revision into that at a later one.
type Delta struct {
	// Critical names members that a gateway must understand to apply the delta, as a snapshot's does.
	Critical   []string
	Deployment string
	Workspace  authority.WorkspaceID
	Timeline   string
	From       uint64 // applies to the state at this revision only
	FromDigest Digest // and of this digest
	Revision   uint64
	Digest     Digest    // of the state that comes of it
	IssuedAt   time.Time // when it was sealed, in whole seconds of UTC

	// Head holds the members of the head that changed, each whole, and Members names them with their digests; the zero
	// Digest is that of a member that is empty.
	Head    Head
	Members map[string]Digest

	Principals Changes[authority.Principal, authority.PrincipalID]
	Mandates   Changes[authority.Mandate, authority.MandateID]
	AgentKeys  Changes[AgentKey, authority.KeyID]
}

// Changes are what changes in one list: items that are new or other than before, and those that are gone. Both are in
// the order of their ids.
type Changes[T any, ID ~string] struct {
	Set     []Item[T]
	Removed []ID
}

// deltaManifest is the signed body that describes the content of a delta.
type deltaManifest struct {
	Format    int      `json:"format"`
	Critical  []string `json:"critical"`
	Timeline  string   `json:"timeline"`
	From      uint64   `json:"from"`
	FromState []byte   `json:"from_state"`
	Revision  uint64   `json:"revision"`
	State     []byte   `json:"state"`
	Encoding  string   `json:"encoding"`
	Digest    []byte   `json:"sha256"` // of the content as it is sent
	Sent      uint64   `json:"sent"`   // its size as it is sent
	Size      uint64   `json:"size"`   // its size before compression
}

// deltaContent is what is sealed. A member of the head that came to be empty is null.
type deltaContent struct {
	Head       map[string]json.RawMessage `json:"head,omitempty"`
	Principals rawChanges                 `json:"principals"`
	Mandates   rawChanges                 `json:"mandates"`
	AgentKeys  rawChanges                 `json:"agent_keys"`
}

type rawChanges struct {
	Set     []json.RawMessage `json:"set,omitempty"`
	Removed []string          `json:"removed,omitempty"`
}

// SealDelta makes the sealed form of a delta. key is a bundle key in keySet, which the workspace's root has sealed. A
// delta that is too large is ErrDeltaTooLarge.
func SealDelta(d Delta, key token.SigningKey, keySet string) ([]byte, error) {
	sealed, err := sealDelta(d, key, keySet)
	if err != nil {
		return nil, fmt.Errorf("seal delta: %w", err)
	}
	return sealed, nil
}

func sealDelta(d Delta, key token.SigningKey, keySet string) ([]byte, error) {
	if d.Deployment == "" || d.Timeline == "" || d.Workspace == "" || d.From == 0 || d.Revision <= d.From {
		return nil, errors.New("a delta names its deployment, timeline and workspace, and leads to a later revision")
	}
	head, err := changedMembers(d)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(deltaContent{Head: head, Principals: rawOf(d.Principals), Mandates: rawOf(d.Mandates), AgentKeys: rawOf(d.AgentKeys)})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if len(content) > maxDeltaContent || len(keySet) > token.MaxKeySet {
		return nil, ErrDeltaTooLarge
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	sent := encoder.EncodeAll(content, nil)
	digest := sha256.Sum256(sent)
	body, err := json.Marshal(deltaManifest{
		Format: Format, Critical: d.Critical, Timeline: d.Timeline, From: d.From, FromState: d.FromDigest[:],
		Revision: d.Revision, State: d.Digest[:], Encoding: encoding,
		Digest: digest[:], Sent: uint64(len(sent)), Size: uint64(len(content)),
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	signed, err := token.SignManifest(key, token.Manifest{
		Kind: token.ManifestDelta, Deployment: d.Deployment, Workspace: d.Workspace, IssuedAt: d.IssuedAt, Body: body,
	})
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	if err := writePreamble(&sealed, deltaMagic, signed, keySet); err != nil {
		return nil, err
	}
	sealed.Write(sent)
	if sealed.Len() > MaxDelta {
		return nil, ErrDeltaTooLarge
	}
	return sealed.Bytes(), nil
}

// changedMembers encodes the members of the head that a delta names.
func changedMembers(d Delta) (map[string]json.RawMessage, error) {
	if len(d.Members) == 0 {
		return nil, nil
	}
	content, _, err := encodeHead(d.Head)
	if err != nil {
		return nil, err
	}
	raw, err := rawMembers(content)
	if err != nil {
		return nil, err
	}
	changed := make(map[string]json.RawMessage, len(d.Members))
	for name, digest := range d.Members {
		member, ok := raw[name]
		if !ok {
			member = json.RawMessage("null")
		}
		if is := memberDigests(map[string]json.RawMessage{name: member})[name]; is != digest {
			return nil, fmt.Errorf("the member %s of the head is not the one that the delta names", name)
		}
		changed[name] = member
	}
	return changed, nil
}

func rawOf[T any, ID ~string](c Changes[T, ID]) rawChanges {
	var raw rawChanges
	for _, item := range c.Set {
		raw.Set = append(raw.Set, item.Content)
	}
	for _, id := range c.Removed {
		raw.Removed = append(raw.Removed, string(id))
	}
	return raw
}

// OpenDelta reads a delta that the trusted root vouches for and that continues exactly what is enforced. Anything else is
// an *Error; one that begins at another state is CodeGap.
func OpenDelta(sealed []byte, trust Trust) (Delta, token.KeySet, error) {
	d, keys, err := openDelta(sealed, trust)
	if err != nil {
		return Delta{}, token.KeySet{}, err
	}
	return d, keys, nil
}

func openDelta(sealed []byte, trust Trust) (Delta, token.KeySet, error) {
	if len(sealed) > MaxDelta {
		return Delta{}, token.KeySet{}, refuse(CodeInvalid, "%d bytes exceed the limit of %d", len(sealed), MaxDelta)
	}
	source := bytes.NewReader(sealed)
	signed, keySet, err := readPreamble(source, deltaMagic)
	if err != nil {
		return Delta{}, token.KeySet{}, err
	}
	keys, err := openKeySet(keySet, trust)
	if err != nil {
		return Delta{}, token.KeySet{}, err
	}
	envelope, told, err := openManifest[deltaManifest](token.ManifestDelta, signed, keys)
	if err != nil {
		return Delta{}, token.KeySet{}, err
	}
	if err := trust.within(keys).continues(told, keys); err != nil {
		return Delta{}, token.KeySet{}, err
	}
	content, err := told.content(sealed[len(sealed)-source.Len():])
	if err != nil {
		return Delta{}, token.KeySet{}, err
	}
	d := Delta{
		Critical: told.Critical, Deployment: envelope.Deployment, Workspace: envelope.Workspace, Timeline: told.Timeline,
		From: told.From, FromDigest: Digest(told.FromState), Revision: told.Revision, Digest: Digest(told.State), IssuedAt: envelope.IssuedAt,
	}
	if err := d.read(content); err != nil {
		return Delta{}, token.KeySet{}, refuse(CodeInvalid, "read delta: %w", err)
	}
	return d, keys, nil
}

// continues checks that a verified manifest begins at exactly what is enforced, and moves forward on the one timeline.
func (t Trust) continues(told deltaManifest, keys token.KeySet) error {
	switch {
	case told.Timeline != keys.Timeline:
		return refuse(CodeForeign, "timeline is not its key set's")
	case told.Revision <= told.From:
		return refuse(CodeInvalid, "from revision %d to %d is no way forward", told.From, told.Revision)
	case len(told.FromState) != len(Digest{}), len(told.State) != len(Digest{}):
		return refuse(CodeInvalid, "the digest of a state is none")
	case told.Revision <= t.Revision:
		return refuse(CodeOlder, "revision %d is not newer than %d", told.Revision, t.Revision)
	case told.From != t.Revision:
		return refuse(CodeGap, "it continues revision %d, and %d is enforced", told.From, t.Revision)
	case !bytes.Equal(told.FromState, t.Digest):
		return refuse(CodeGap, "it continues another state of revision %d than is enforced", told.From)
	}
	return nil
}

// content is what the manifest describes, decompressed.
func (m deltaManifest) content(sent []byte) ([]byte, error) {
	size := uint64(len(sent))
	switch {
	case m.Encoding != encoding:
		return nil, refuse(CodeInvalid, "encoding %q is not %s", m.Encoding, encoding)
	case m.Size > maxDeltaContent:
		return nil, refuse(CodeInvalid, "content of %d bytes exceeds the limit of %d", m.Size, maxDeltaContent)
	case size < m.Sent:
		return nil, refuse(CodeTruncated, "%d of %d bytes of the content are there", size, m.Sent)
	case size > m.Sent:
		return nil, refuse(CodeInvalid, "%d bytes after the content", size-m.Sent)
	}
	decoder, err := newDecoder()
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	return part{Digest: m.Digest, Sent: m.Sent, Size: m.Size}.open(sent, decoder)
}

// read fills in what the content says.
func (d *Delta) read(content []byte) error {
	var raw deltaContent
	if err := json.Unmarshal(content, &raw); err != nil {
		return err
	}
	if err := d.readHead(raw.Head); err != nil {
		return err
	}
	var err error
	if d.Principals, err = readChanges[authority.Principal, authority.PrincipalID](KindPrincipal, raw.Principals, d.Workspace,
		func(p authority.Principal) (string, authority.WorkspaceID) { return string(p.ID), p.WorkspaceID }); err != nil {
		return err
	}
	if d.Mandates, err = readChanges[authority.Mandate, authority.MandateID](KindMandate, raw.Mandates, d.Workspace,
		func(m authority.Mandate) (string, authority.WorkspaceID) { return string(m.ID), m.WorkspaceID }); err != nil {
		return err
	}
	d.AgentKeys, err = readChanges[AgentKey, authority.KeyID](KindAgentKey, raw.AgentKeys, d.Workspace,
		func(k AgentKey) (string, authority.WorkspaceID) { return string(k.ID), d.Workspace })
	return err
}

func (d *Delta) readHead(raw map[string]json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	content, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	if d.Head, err = decodeHead(content, d.Revision); err != nil {
		return err
	}
	if err := d.Head.check(d.Workspace); err != nil {
		return err
	}
	d.Members = memberDigests(raw)
	for name, content := range raw {
		if isNull(content) {
			d.Members[name] = Digest{}
		}
	}
	if _, changed := d.Members[MemberWorkspace]; changed && d.Head.Workspace.ID != d.Workspace {
		return fmt.Errorf("the workspace is another than %s", d.Workspace)
	}
	return nil
}

// readChanges reads the changes of one list, whose items are all of one workspace and change once.
func readChanges[T any, ID ~string](kind Kind, raw rawChanges, own authority.WorkspaceID, name func(T) (string, authority.WorkspaceID)) (Changes[T, ID], error) {
	var c Changes[T, ID]
	set, removed := order{workspace: own}, order{workspace: own}
	for _, content := range raw.Set {
		item := Item[T]{Content: content}
		if err := json.Unmarshal(content, &item.Value); err != nil {
			return c, err
		}
		id, owner := name(item.Value)
		if err := set.admits(kind, id, owner); err != nil {
			return c, err
		}
		item.Digest = digestOf(kind, id, content)
		c.Set = append(c.Set, item)
	}
	for _, id := range raw.Removed {
		if err := removed.admits(kind, id, own); err != nil {
			return c, err
		}
		byID := func(item Item[T], id string) int { named, _ := name(item.Value); return cmp.Compare(named, id) }
		if _, both := slices.BinarySearchFunc(c.Set, id, byID); both {
			return c, fmt.Errorf("%s %s is set and removed", kind, id)
		}
		c.Removed = append(c.Removed, ID(id))
	}
	return c, nil
}
