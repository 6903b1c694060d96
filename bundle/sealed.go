package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/caracal-gateway/caracal/token"
)

const (
	// MaxPayload is the size of the largest payload before compression, in bytes.
	MaxPayload = 256 << 20
	// MaxSealed is the size of the largest sealed bundle, in bytes.
	MaxSealed = 64 << 20

	magic    = "CARACAL\x01"
	encoding = "zstd"
)

// Sealed is a bundle on the wire and on disk: a magic number, the manifest (a JWS) and the sealed key set, each after
// its length as a big-endian uint32, then the compressed payload, whose length the manifest tells.
type Sealed []byte

// manifest is the signed body that describes the payload.
type manifest struct {
	Format   int      `json:"format"`
	Critical []string `json:"critical"`
	Timeline string   `json:"timeline"`
	Revision uint64   `json:"revision"`
	Encoding string   `json:"encoding"`
	Digest   []byte   `json:"sha256"` // of the payload as it is sent
	Sent     uint64   `json:"sent"`   // its size as it is sent
	Size     uint64   `json:"size"`   // its size before compression
}

// Seal makes the bundle of a snapshot. key is a bundle key in keySet, which the workspace's root has sealed.
func Seal(s Snapshot, key token.SigningKey, keySet string) (Sealed, error) {
	sealed, err := seal(s, key, keySet)
	if err != nil {
		return nil, fmt.Errorf("seal bundle: %w", err)
	}
	return sealed, nil
}

func seal(s Snapshot, key token.SigningKey, keySet string) (Sealed, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	content, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	payload, err := compress(content)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(payload)
	body, err := json.Marshal(manifest{
		Format: Format, Critical: s.Critical, Timeline: s.Timeline, Revision: s.Revision, Encoding: encoding,
		Digest: digest[:], Sent: uint64(len(payload)), Size: uint64(len(content)),
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	signed, err := token.SignManifest(key, token.Manifest{
		Deployment: s.Deployment, Workspace: s.Workspace.ID, IssuedAt: s.IssuedAt, Body: body,
	})
	if err != nil {
		return nil, err
	}
	sealed := join(signed, keySet, payload)
	if len(content) > MaxPayload || len(keySet) > token.MaxKeySet || len(sealed) > MaxSealed {
		return nil, fmt.Errorf("%d bytes, compressed to %d, exceed the limits of a bundle", len(content), len(sealed))
	}
	return sealed, nil
}

func compress(content []byte) ([]byte, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress payload: %w", err)
	}
	return encoder.EncodeAll(content, nil), nil
}

func join(signed, keySet string, payload []byte) Sealed {
	sealed := make(Sealed, 0, len(magic)+4+len(signed)+4+len(keySet)+len(payload))
	sealed = append(sealed, magic...)
	for _, part := range []string{signed, keySet} {
		sealed = binary.BigEndian.AppendUint32(sealed, uint32(len(part)))
		sealed = append(sealed, part...)
	}
	return append(sealed, payload...)
}

// parts takes the wire form apart, and believes nothing of what is in it.
func (b Sealed) parts() (signed, keySet string, payload []byte, err error) {
	if len(b) > MaxSealed {
		return "", "", nil, refuse(CodeInvalid, "%d bytes exceed the limit of %d", len(b), MaxSealed)
	}
	head := b[:min(len(b), len(magic))]
	if !bytes.HasPrefix([]byte(magic), head) {
		return "", "", nil, refuse(CodeInvalid, "not a bundle")
	}
	rest := b[len(head):]
	if signed, rest, err = rest.part(token.MaxManifest); err != nil {
		return "", "", nil, err
	}
	if keySet, rest, err = rest.part(token.MaxKeySet); err != nil {
		return "", "", nil, err
	}
	return signed, keySet, rest, nil
}

// part reads one part after its length.
func (b Sealed) part(limit uint32) (string, Sealed, error) {
	if len(b) < 4 {
		return "", nil, refuse(CodeTruncated, "a length is missing")
	}
	length := binary.BigEndian.Uint32(b)
	b = b[4:]
	switch {
	case length > limit:
		return "", nil, refuse(CodeInvalid, "a part of %d bytes exceeds the limit of %d", length, limit)
	case int(length) > len(b):
		return "", nil, refuse(CodeTruncated, "%d of %d bytes of a part are there", len(b), length)
	}
	return string(b[:length]), b[length:], nil
}

// Revision is the revision that the manifest tells, verified or not; 0 when none can be read.
func (b Sealed) Revision() uint64 { return b.hearsay().Revision }

// Digest is the digest of the payload that the manifest tells, verified or not; empty when none can be read. Once Open
// has accepted the bundle it is what both planes know the enforced state by.
func (b Sealed) Digest() []byte { return b.hearsay().Digest }

// hearsay reads the manifest without verifying it.
func (b Sealed) hearsay() manifest {
	signed, _, _, err := b.parts()
	if err != nil {
		return manifest{}
	}
	_, rest, _ := strings.Cut(signed, ".")
	claims, _, _ := strings.Cut(rest, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil {
		return manifest{}
	}
	var told struct {
		Bundle manifest `json:"bundle"`
	}
	if err := json.Unmarshal(decoded, &told); err != nil {
		return manifest{}
	}
	return told.Bundle
}
