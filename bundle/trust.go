package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// Trust is what a gateway knows before it opens a bundle. Its root is in its API key; the rest is empty until it has
// enforced a bundle, or been told at its enrolment, and then only ever moves forward.
type Trust struct {
	Root       token.Fingerprint
	Deployment string
	Workspace  authority.WorkspaceID
	Timeline   string
	KeySet     uint64 // the version of the key set that was trusted last
	Revision   uint64 // what is enforced
	Digest     []byte // of the state that is enforced
}

// Enforced is the trust to open the next bundle with, once this snapshot, which was opened, is enforced.
func (t Trust) Enforced(s Snapshot, keys token.KeySet) Trust {
	return Trust{
		Root: t.Root, Deployment: s.Deployment, Workspace: s.Workspace.ID, Timeline: s.Timeline,
		KeySet: keys.Version, Revision: s.Revision, Digest: s.Digest[:],
	}
}

// Advanced is the trust to open the next bundle with, once this delta, which was opened, is enforced.
func (t Trust) Advanced(d Delta, keys token.KeySet) Trust {
	t.KeySet, t.Revision, t.Digest = keys.Version, d.Revision, d.Digest[:]
	return t
}

// within is the trust to open with what a trusted key set vouches for. Where its timeline took the place of the trusted
// one, how far that one had come says nothing.
func (t Trust) within(keys token.KeySet) Trust {
	if t.Timeline == "" || t.Timeline == keys.Timeline {
		return t
	}
	return Trust{Root: t.Root, Deployment: t.Deployment, Workspace: t.Workspace, Timeline: keys.Timeline}
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
	case trust.Timeline != "" && keys.Timeline != trust.Timeline && !slices.Contains(keys.Succeeds, trust.Timeline):
		return token.KeySet{}, refuse(CodeForeign, "timeline is not %s, nor a successor of it", trust.Timeline)
	case keys.Version < trust.within(keys).KeySet:
		return token.KeySet{}, refuse(CodeOlder, "key set %d is older than %d", keys.Version, trust.KeySet)
	}
	return keys, nil
}

// openManifest verifies a manifest of one kind and reads it, as far as this program understands it.
func openManifest[M any](kind token.ManifestKind, signed string, keys token.KeySet) (envelope token.Manifest, told M, err error) {
	var none M
	envelope, err = keys.VerifyManifest(signed, kind)
	switch {
	case errors.Is(err, token.ErrIssuer), errors.Is(err, token.ErrAudience):
		return token.Manifest{}, none, refuse(CodeForeign, "%w", err)
	case err != nil:
		return token.Manifest{}, none, refuse(CodeUnsigned, "%w", err)
	}
	var needs struct {
		Format   int      `json:"format"`
		Critical []string `json:"critical"`
	}
	if err := json.Unmarshal(envelope.Body, &needs); err != nil {
		return token.Manifest{}, none, refuse(CodeInvalid, "read manifest: %w", err)
	}
	if needs.Format != Format {
		return token.Manifest{}, none, refuse(CodeUnknownCritical, "format %d is not %d", needs.Format, Format)
	}
	for _, member := range needs.Critical {
		if !understood(member) {
			return token.Manifest{}, none, refuse(CodeUnknownCritical, "%q is not known here", member)
		}
	}
	if err := json.Unmarshal(envelope.Body, &told); err != nil {
		return token.Manifest{}, none, refuse(CodeInvalid, "read manifest: %w", err)
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
	case told.Revision == t.Revision && !bytes.Equal(told.State, t.Digest):
		return refuse(CodeOlder, "revision %d is enforced already, with another state", told.Revision)
	}
	return nil
}
