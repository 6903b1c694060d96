package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// MaxManifest is the size of the largest manifest that is read, in bytes.
const MaxManifest = 64 << 10

// ManifestKind says what a manifest is of. What was signed for one kind never passes for another.
type ManifestKind string

// The kinds of manifests, by the types of their JWS.
const (
	ManifestSnapshot ManifestKind = "caracal-bundle+jwt"
	ManifestDelta    ManifestKind = "caracal-delta+jwt"
)

// Manifest is what a bundle key signs: a body, whose meaning is the bundle's, and where and when it is from.
type Manifest struct {
	Kind       ManifestKind
	Deployment string
	Workspace  authority.WorkspaceID
	IssuedAt   time.Time // in whole seconds of UTC
	Body       json.RawMessage
}

type manifestClaims struct {
	Issuer   string          `json:"iss"`
	Audience string          `json:"aud"`
	IssuedAt int64           `json:"iat"`
	Bundle   json.RawMessage `json:"bundle"`
}

// SignManifest signs a manifest. IssuedAt is cut to its second and must lie in the key's period.
func SignManifest(key SigningKey, m Manifest) (string, error) {
	text, err := key.signAs(PurposeBundle, string(m.Kind), m.IssuedAt, manifestClaims{
		Issuer:   m.Deployment,
		Audience: audience(m.Workspace, PurposeBundle),
		IssuedAt: m.IssuedAt.Unix(),
		Bundle:   m.Body,
	})
	if err != nil {
		return "", fmt.Errorf("sign manifest: %w", err)
	}
	if len(text) > MaxManifest {
		return "", fmt.Errorf("sign manifest: %w", ErrTooLarge)
	}
	return text, nil
}

// VerifyManifest reads a manifest of one kind that SignManifest made for this deployment and workspace. No JSON name
// occurs twice in its body.
func (s KeySet) VerifyManifest(jws string, kind ManifestKind) (Manifest, error) {
	signed, err := s.openAs(jws, PurposeBundle, string(kind), MaxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("verify manifest: %w", err)
	}
	return Manifest{
		Kind: kind, Deployment: s.Deployment, Workspace: s.Workspace, IssuedAt: signed.issued, Body: signed.claims["bundle"],
	}, nil
}
