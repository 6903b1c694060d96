package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// maxWindow bounds the memory that a compressed part can make its reader hold, in bytes.
const maxWindow = 32 << 20

// Reader opens a sealed snapshot part by part. Nothing of a part is decompressed or parsed before its digest has been
// checked, and no more than one part is in memory at a time.
type Reader struct {
	// Snapshot is what the manifest and the head say. Its lists are empty.
	Snapshot Snapshot
	// Members are the digests of the head's members.
	Members map[string]Digest
	// Keys came along, sealed by the trusted root.
	Keys token.KeySet
	// Evidence shows others that the state was made by a control plane of the deployment.
	Evidence Evidence

	source  io.Reader
	parts   []part // that are still to come
	counts  map[Kind]int
	state   State
	order   order
	decoder *zstd.Decoder
}

// Part holds items of one list, in the order of their ids.
type Part struct {
	Principals []Item[authority.Principal]
	Mandates   []Item[authority.Mandate]
	AgentKeys  []Item[AgentKey]
}

// NewReader reads up to the head of a snapshot that the trusted root vouches for: of its own deployment, workspace and
// timeline, newer than what is enforced or exactly that, and understood where it must be. Anything else is an *Error.
// What it says holds once Next has come to the end.
func NewReader(source io.Reader, trust Trust) (*Reader, error) {
	signed, keySet, err := readPreamble(source, magic)
	if err != nil {
		return nil, err
	}
	keys, err := openKeySet(keySet, trust)
	if err != nil {
		return nil, err
	}
	envelope, told, err := openManifest[manifest](token.ManifestSnapshot, signed, keys)
	if err != nil {
		return nil, err
	}
	if err := trust.within(keys).admits(told, keys); err != nil {
		return nil, err
	}
	if err := told.check(); err != nil {
		return nil, err
	}
	decoder, err := newDecoder()
	if err != nil {
		return nil, err
	}
	r := &Reader{
		Keys: keys, Evidence: Evidence{Manifest: signed, KeySet: keySet}, source: source, parts: told.Parts, decoder: decoder, order: order{workspace: envelope.Workspace}, counts: map[Kind]int{},
		Snapshot: Snapshot{
			Format: told.Format, Critical: told.Critical, Deployment: envelope.Deployment, Timeline: told.Timeline,
			Revision: told.Revision, IssuedAt: envelope.IssuedAt, Digest: Digest(told.State),
		},
	}
	for _, p := range told.Parts {
		r.counts[p.Kind] += p.Items
	}
	return r, r.head()
}

// newDecoder makes what decompresses. It allocates as much as is there, not as a header promises.
func newDecoder() (*zstd.Decoder, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, refuse(CodeInvalid, "decompress: %w", err)
	}
	return decoder, nil
}

// check holds what a verified manifest says of its parts to the limits.
func (m manifest) check() error {
	switch {
	case m.Encoding != encoding:
		return refuse(CodeInvalid, "encoding %q is not %s", m.Encoding, encoding)
	case len(m.State) != len(Digest{}):
		return refuse(CodeInvalid, "the digest of the state is none")
	case len(m.Parts) == 0 || m.Parts[0].Kind != KindHead:
		return refuse(CodeInvalid, "the first part is not the head")
	case len(m.Parts) > maxParts:
		return refuse(CodeInvalid, "%d parts exceed the limit of %d", len(m.Parts), maxParts)
	}
	for _, p := range m.Parts {
		if p.Size > maxPart || p.Sent > maxPart {
			return refuse(CodeInvalid, "a part of %d bytes, %d before compression, exceeds the limit of %d", p.Sent, p.Size, maxPart)
		}
	}
	for _, p := range m.Parts[1:] {
		switch p.Kind {
		case KindPrincipal, KindMandate, KindAgentKey:
		default:
			return refuse(CodeUnknownCritical, "the list %q is not known here", p.Kind)
		}
		if p.Items < 1 || uint64(p.Items) > p.Size {
			return refuse(CodeInvalid, "a part of %d bytes does not hold %d items", p.Size, p.Items)
		}
	}
	return nil
}

// head reads the first part.
func (r *Reader) head() error {
	content, err := r.content()
	if err != nil {
		return err
	}
	raw, err := rawMembers(content)
	if err != nil {
		return refuse(CodeInvalid, "%w", err)
	}
	r.Members = memberDigests(raw)
	for _, digest := range r.Members {
		r.state.Add(digest)
	}
	if r.Snapshot.Head, err = decodeHead(content, r.Snapshot.Revision); err != nil {
		return refuse(CodeInvalid, "%w", err)
	}
	if r.Snapshot.Workspace.ID == "" {
		return refuse(CodeInvalid, "the head names no workspace")
	}
	if r.Snapshot.Workspace.ID != r.order.workspace {
		return refuse(CodeForeign, "the head is of another workspace than its manifest")
	}
	if err := r.Snapshot.check(); err != nil {
		return refuse(CodeInvalid, "check head: %w", err)
	}
	return nil
}

// Count is how many items of a list the snapshot says it has. It is for making room, and believed no further.
func (r *Reader) Count(kind Kind) int { return r.counts[kind] }

// Next reads the next part; io.EOF when there is none, and what was read is the whole state that was signed.
func (r *Reader) Next() (Part, error) {
	if len(r.parts) == 0 {
		return Part{}, r.end()
	}
	about := r.parts[0]
	content, err := r.content()
	if err != nil {
		return Part{}, err
	}
	var p Part
	switch about.Kind {
	case KindPrincipal:
		p.Principals, err = readItems(r, about, content, func(p authority.Principal) (string, authority.WorkspaceID) { return string(p.ID), p.WorkspaceID })
	case KindMandate:
		p.Mandates, err = readItems(r, about, content, func(m authority.Mandate) (string, authority.WorkspaceID) { return string(m.ID), m.WorkspaceID })
	default:
		p.AgentKeys, err = readItems(r, about, content, func(k AgentKey) (string, authority.WorkspaceID) { return string(k.ID), r.order.workspace })
	}
	if err != nil {
		return Part{}, refuse(CodeInvalid, "read part: %w", err)
	}
	return p, nil
}

// readItems reads one item a line.
func readItems[T any](r *Reader, about part, content []byte, name func(T) (string, authority.WorkspaceID)) ([]Item[T], error) {
	items := make([]Item[T], 0, about.Items)
	for line := range bytes.Lines(content) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(items) == about.Items {
			return nil, fmt.Errorf("more than %d items of %s", about.Items, about.Kind)
		}
		item := Item[T]{Content: line}
		if err := json.Unmarshal(line, &item.Value); err != nil {
			return nil, err
		}
		id, owner := name(item.Value)
		if err := r.order.admits(about.Kind, id, owner); err != nil {
			return nil, err
		}
		item.Digest = digestOf(about.Kind, id, line)
		r.state.Add(item.Digest)
		items = append(items, item)
	}
	if len(items) != about.Items {
		return nil, fmt.Errorf("%d of %d items of %s", len(items), about.Items, about.Kind)
	}
	return items, nil
}

// end checks that nothing more comes and that the parts make the state that was signed.
func (r *Reader) end() error {
	r.decoder.Close()
	if n, err := r.source.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return refuse(CodeInvalid, "more after the last part")
	}
	if r.state.Sum() != r.Snapshot.Digest {
		return refuse(CodeInvalid, "the parts do not make the state that was signed")
	}
	return io.EOF
}

// content is the next part, decompressed.
func (r *Reader) content() ([]byte, error) {
	about := r.parts[0]
	r.parts = r.parts[1:]
	// What is allocated follows what is there, not what the manifest promises.
	var sent bytes.Buffer
	if n, err := io.CopyN(&sent, r.source, int64(about.Sent)); err != nil {
		return nil, short(err, "%d of %d bytes of a part are there", n, about.Sent)
	}
	return about.open(sent.Bytes(), r.decoder)
}

// open checks what was sent and decompresses it.
func (p part) open(sent []byte, decoder *zstd.Decoder) ([]byte, error) {
	if digest := sha256.Sum256(sent); !bytes.Equal(digest[:], p.Digest) {
		return nil, refuse(CodeUnsigned, "a part is not the one that was signed")
	}
	if err := decoder.Reset(bytes.NewReader(sent)); err != nil {
		return nil, refuse(CodeInvalid, "decompress: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(decoder, int64(p.Size)+1))
	if err != nil {
		return nil, refuse(CodeInvalid, "decompress: %w", err)
	}
	if uint64(len(content)) != p.Size {
		return nil, refuse(CodeInvalid, "a part does not decompress to the %d bytes of its manifest", p.Size)
	}
	return content, nil
}

// Open reads a whole snapshot at once, as NewReader and Next do.
func Open(sealed Sealed, trust Trust) (Snapshot, token.KeySet, error) {
	r, err := NewReader(bytes.NewReader(sealed), trust)
	if err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	s := r.Snapshot
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s, r.Keys, nil
		}
		if err != nil {
			return Snapshot{}, token.KeySet{}, err
		}
		for _, i := range p.Principals {
			s.Principals = append(s.Principals, i.Value)
		}
		for _, i := range p.Mandates {
			s.Mandates = append(s.Mandates, i.Value)
		}
		for _, i := range p.AgentKeys {
			s.AgentKeys = append(s.AgentKeys, i.Value)
		}
	}
}
