package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// maxWindow bounds the memory that a compressed payload can make its reader hold, in bytes.
const maxWindow = 32 << 20

// Trust is what a gateway knows before it opens a bundle. Its root is in its API key; the rest is empty until it has
// enforced a bundle, or been told at its enrolment, and then only ever moves forward.
type Trust struct {
	Root       token.Fingerprint
	Deployment string
	Workspace  authority.WorkspaceID
	Timeline   string
	KeySet     uint64 // the version of the key set that was trusted last
	Revision   uint64 // what is enforced
	Digest     []byte // of the payload that is enforced
}

// Enforced is the trust to open the next bundle with, once this one, which Open accepted, is enforced.
func (t Trust) Enforced(sealed Sealed, s Snapshot, keys token.KeySet) Trust {
	return Trust{
		Root: t.Root, Deployment: s.Deployment, Workspace: s.Workspace.ID, Timeline: s.Timeline,
		KeySet: keys.Version, Revision: s.Revision, Digest: sealed.Digest(),
	}
}

// Open reads a bundle that the trusted root vouches for: of its own deployment, workspace and timeline, newer than what
// is enforced or exactly that, and understood where it must be. Anything else is an *Error. The payload is decompressed
// and parsed only after its digest has been checked.
func Open(sealed Sealed, trust Trust) (Snapshot, token.KeySet, error) {
	signed, keySet, payload, err := sealed.parts()
	if err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	keys, err := openKeySet(keySet, trust)
	if err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	envelope, told, err := openManifest(signed, keys)
	if err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	if err := trust.admits(told, keys); err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	content, err := told.content(payload)
	if err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	snapshot := Snapshot{
		Format: told.Format, Critical: told.Critical, Deployment: envelope.Deployment, Timeline: told.Timeline,
		Revision: told.Revision, IssuedAt: envelope.IssuedAt,
	}
	if err := snapshot.read(content); err != nil {
		return Snapshot{}, token.KeySet{}, err
	}
	if snapshot.Workspace.ID != envelope.Workspace {
		return Snapshot{}, token.KeySet{}, refuse(CodeForeign, "the payload is of another workspace than its manifest")
	}
	return snapshot, keys, nil
}

// openKeySet opens the key set that came along, of the workspace that is trusted.
func openKeySet(sealed string, trust Trust) (token.KeySet, error) {
	keys, err := token.OpenKeySet(sealed, trust.Root)
	switch {
	case errors.Is(err, token.ErrForeignRoot):
		return token.KeySet{}, refuse(CodeForeign, "%w", err)
	case err != nil:
		return token.KeySet{}, refuse(CodeUnsigned, "%w", err)
	case trust.Deployment != "" && keys.Deployment != trust.Deployment:
		return token.KeySet{}, refuse(CodeForeign, "deployment is not %s", trust.Deployment)
	case trust.Workspace != "" && keys.Workspace != trust.Workspace:
		return token.KeySet{}, refuse(CodeForeign, "workspace is not %s", trust.Workspace)
	case trust.Timeline != "" && keys.Timeline != trust.Timeline:
		return token.KeySet{}, refuse(CodeForeign, "timeline is not %s", trust.Timeline)
	case keys.Version < trust.KeySet:
		return token.KeySet{}, refuse(CodeOlder, "key set %d is older than %d", keys.Version, trust.KeySet)
	}
	return keys, nil
}

// openManifest verifies the manifest and reads it, as far as this program understands it.
func openManifest(signed string, keys token.KeySet) (token.Manifest, manifest, error) {
	envelope, err := keys.VerifyManifest(signed)
	switch {
	case errors.Is(err, token.ErrIssuer), errors.Is(err, token.ErrAudience):
		return token.Manifest{}, manifest{}, refuse(CodeForeign, "%w", err)
	case err != nil:
		return token.Manifest{}, manifest{}, refuse(CodeUnsigned, "%w", err)
	}
	var needs struct {
		Format   int      `json:"format"`
		Critical []string `json:"critical"`
	}
	if err := json.Unmarshal(envelope.Body, &needs); err != nil {
		return token.Manifest{}, manifest{}, refuse(CodeInvalid, "read manifest: %w", err)
	}
	if needs.Format != Format {
		return token.Manifest{}, manifest{}, refuse(CodeUnknownCritical, "format %d is not %d", needs.Format, Format)
	}
	for _, member := range needs.Critical {
		if !understood(member) {
			return token.Manifest{}, manifest{}, refuse(CodeUnknownCritical, "%q is not known here", member)
		}
	}
	var told manifest
	if err := json.Unmarshal(envelope.Body, &told); err != nil {
		return token.Manifest{}, manifest{}, refuse(CodeInvalid, "read manifest: %w", err)
	}
	return envelope, told, nil
}

// admits checks that a verified manifest moves forward, or stays exactly where it is, on the one timeline.
func (t Trust) admits(told manifest, keys token.KeySet) error {
	switch {
	case told.Timeline != keys.Timeline:
		return refuse(CodeForeign, "timeline is not its key set's")
	case told.Revision == 0:
		return refuse(CodeInvalid, "revisions begin at 1")
	case told.Revision < t.Revision:
		return refuse(CodeOlder, "revision %d is older than %d", told.Revision, t.Revision)
	case told.Revision == t.Revision && !bytes.Equal(told.Digest, t.Digest):
		return refuse(CodeOlder, "revision %d is enforced already, with another state", told.Revision)
	}
	return nil
}

// content is the payload that the manifest describes, decompressed.
func (m manifest) content(payload []byte) ([]byte, error) {
	size := uint64(len(payload))
	switch {
	case m.Encoding != encoding:
		return nil, refuse(CodeInvalid, "encoding %q is not %s", m.Encoding, encoding)
	case m.Size > MaxPayload:
		return nil, refuse(CodeInvalid, "payload of %d bytes exceeds the limit of %d", m.Size, MaxPayload)
	case size < m.Sent:
		return nil, refuse(CodeTruncated, "%d of %d bytes of the payload are there", size, m.Sent)
	case size > m.Sent:
		return nil, refuse(CodeInvalid, "%d bytes after the payload", size-m.Sent)
	}
	if digest := sha256.Sum256(payload); !bytes.Equal(digest[:], m.Digest) {
		return nil, refuse(CodeUnsigned, "payload is not the one that was signed")
	}
	decoder, err := zstd.NewReader(bytes.NewReader(payload),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, refuse(CodeInvalid, "decompress payload: %w", err)
	}
	defer decoder.Close()
	// What is allocated follows what is there, not what the manifest promises.
	content, err := io.ReadAll(io.LimitReader(decoder, int64(m.Size)+1))
	if err != nil {
		return nil, refuse(CodeInvalid, "decompress payload: %w", err)
	}
	if uint64(len(content)) != m.Size {
		return nil, refuse(CodeInvalid, "payload does not decompress to the %d bytes of its manifest", m.Size)
	}
	return content, nil
}

// read fills in the members of the payload. Members that are not known are ignored. Numbers of the policy's data keep
// their digits.
func (s *Snapshot) read(content []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(s); err != nil {
		return refuse(CodeInvalid, "read payload: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return refuse(CodeInvalid, "text after the payload")
	}
	if err := s.check(); err != nil {
		return refuse(CodeInvalid, "check payload: %w", err)
	}
	return nil
}
