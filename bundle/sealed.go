package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/caracal-gateway/caracal/token"
)

const (
	// MaxSealed is the size of the largest sealed snapshot, in bytes.
	MaxSealed = 1 << 30

	magic    = "CARACAL\x02"
	encoding = "zstd"

	partSize = 8 << 20  // at which a part of a list is full, in bytes before compression
	maxPart  = 64 << 20 // the largest part that is read, before compression and as it is sent
	maxParts = 256
)

// Sealed is a snapshot on the wire and on disk: a magic number, the manifest (a JWS) and the sealed key set, each after
// its length as a big-endian uint32, then the compressed parts, which the manifest tells the sizes and digests of. The
// first part is the head, a JSON object; the others hold items of one list each, one JSON object a line, in the order of
// their ids.
type Sealed []byte

// manifest is the signed body that describes the parts.
type manifest struct {
	Format   int      `json:"format"`
	Critical []string `json:"critical"`
	Timeline string   `json:"timeline"`
	Revision uint64   `json:"revision"`
	State    []byte   `json:"state"` // the digest of the state
	Encoding string   `json:"encoding"`
	Parts    []part   `json:"parts"`
}

// part describes one part.
type part struct {
	Kind   Kind   `json:"kind"`
	Items  int    `json:"items"`
	Digest []byte `json:"sha256"` // of the part as it is sent
	Sent   uint64 `json:"sent"`   // its size as it is sent
	Size   uint64 `json:"size"`   // its size before compression
}

// writePreamble writes what comes before the parts.
func writePreamble(w io.Writer, magic, signed, keySet string) error {
	preamble := []byte(magic)
	for _, text := range []string{signed, keySet} {
		preamble = binary.BigEndian.AppendUint32(preamble, uint32(len(text)))
		preamble = append(preamble, text...)
	}
	_, err := w.Write(preamble)
	return err
}

// readPreamble reads what comes before the parts, and believes nothing of it.
func readPreamble(r io.Reader, magic string) (signed, keySet string, err error) {
	var head [8]byte
	n, err := io.ReadFull(r, head[:])
	if !bytes.HasPrefix([]byte(magic), head[:n]) {
		return "", "", refuse(CodeInvalid, "not a bundle of this format")
	}
	if err != nil {
		return "", "", short(err, "its beginning is missing")
	}
	if signed, err = readText(r, token.MaxManifest); err != nil {
		return "", "", err
	}
	keySet, err = readText(r, token.MaxKeySet)
	return signed, keySet, err
}

// readText reads one text after its length.
func readText(r io.Reader, limit uint32) (string, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", short(err, "a length is missing")
	}
	length := binary.BigEndian.Uint32(size[:])
	if length > limit {
		return "", refuse(CodeInvalid, "a text of %d bytes exceeds the limit of %d", length, limit)
	}
	text := make([]byte, length)
	if n, err := io.ReadFull(r, text); err != nil {
		return "", short(err, "%d of %d bytes of a text are there", n, length)
	}
	return string(text), nil
}

// short is the refusal of what ends early, and the error of a disk that fails.
func short(err error, format string, args ...any) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(CodeTruncated, format, args...)
	}
	return refuse(CodeInvalid, "read bundle: %w", err)
}

// Revision is the revision that the manifest tells, verified or not; 0 when none can be read.
func (b Sealed) Revision() uint64 { return b.hearsay().Revision }

// Digest is the digest of the state that the manifest tells, verified or not; empty when none can be read. Once the
// snapshot has been opened it is what both planes know the state by.
func (b Sealed) Digest() []byte { return b.hearsay().State }

// hearsay reads the manifest without verifying it.
func (b Sealed) hearsay() manifest {
	signed, _, err := readPreamble(bytes.NewReader(b), magic)
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
