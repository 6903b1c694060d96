package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// MaxManifest is the size of the largest manifest that is read, in bytes.
const MaxManifest = 64 << 10

// Manifest is what a bundle key signs: a body, whose meaning is the bundle's, and where and when it is from.
type Manifest struct {
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
	text, err := key.sign(PurposeBundle, m.IssuedAt, manifestClaims{
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

// VerifyManifest reads a manifest that SignManifest made for this deployment and workspace. No JSON name occurs twice
// in its body.
func (s KeySet) VerifyManifest(jws string) (Manifest, error) {
	signed, err := s.open(jws, PurposeBundle, MaxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("verify manifest: %w", err)
	}
	return Manifest{
		Deployment: s.Deployment, Workspace: s.Workspace, IssuedAt: signed.issued, Body: signed.claims["bundle"],
	}, nil
}
