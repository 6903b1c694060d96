package bundle

import (
	"bytes"
	"time"

	"github.com/caracal-gateway/caracal/token"
)

// Evidence shows that a control plane has made a state, to one that does not know it: its database was restored from a
// backup.
type Evidence struct {
	Manifest string // of the snapshot or the delta that led to the state, signed by the workspace's bundle key
	KeySet   string // that came along, sealed by the workspace's root
}

// EvidenceOf takes the evidence out of a sealed snapshot or delta, which was opened. It is zero where there is none.
func EvidenceOf(sealed []byte) Evidence {
	for _, magic := range []string{magic, deltaMagic} {
		if signed, keySet, err := readPreamble(bytes.NewReader(sealed), magic); err == nil {
			return Evidence{Manifest: signed, KeySet: keySet}
		}
	}
	return Evidence{}
}

// Proven is a state that a control plane has made.
type Proven struct {
	Timeline string
	Revision uint64
	Digest   Digest
	IssuedAt time.Time
	Keys     token.KeySet
}

// stateManifest is what the manifests of snapshots and deltas have in common.
type stateManifest struct {
	Timeline string `json:"timeline"`
	Revision uint64 `json:"revision"`
	State    []byte `json:"state"`
}

// Open reads evidence about a state of the trusted workspace, on whichever timeline. Anything else is an *Error.
func (e Evidence) Open(trust Trust) (Proven, error) {
	keys, err := openKeySet(e.KeySet, Trust{Root: trust.Root, Deployment: trust.Deployment, Workspace: trust.Workspace})
	if err != nil {
		return Proven{}, err
	}
	envelope, told, err := openManifest[stateManifest](token.ManifestSnapshot, e.Manifest, keys)
	if err != nil {
		envelope, told, err = openManifest[stateManifest](token.ManifestDelta, e.Manifest, keys)
	}
	switch {
	case err != nil:
		return Proven{}, err
	case told.Timeline != keys.Timeline:
		return Proven{}, refuse(CodeForeign, "timeline is not its key set's")
	case told.Revision == 0 || len(told.State) != len(Digest{}):
		return Proven{}, refuse(CodeInvalid, "the manifest tells of no state")
	}
	return Proven{
		Timeline: told.Timeline, Revision: told.Revision, Digest: Digest(told.State), IssuedAt: envelope.IssuedAt, Keys: keys,
	}, nil
}
