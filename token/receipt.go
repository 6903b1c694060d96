package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// maxReceipt is the size of the largest signature of a receipt that is read, in bytes.
const maxReceipt = 16 << 10

// receiptClaims are all that an enforced receipt says. Every member is always written, in this order, so that what is said
// has one spelling.
type receiptClaims struct {
	Issuer         string                  `json:"iss"`
	Audience       string                  `json:"aud"`
	ID             authority.ReceiptID     `json:"jti"`
	IssuedAt       int64                   `json:"iat"`
	Kind           authority.ReceiptKind   `json:"kind"`
	Target         authority.ReceiptTarget `json:"target"`
	Revision       uint64                  `json:"revision"`
	Timeline       string                  `json:"timeline"`
	RequestedBy    authority.PrincipalID   `json:"requested_by"`
	RevokedAt      time.Time               `json:"revoked_at"`
	CreatedAt      time.Time               `json:"created_at"`
	EffectiveAt    time.Time               `json:"effective_at"`
	MandateCount   int64                   `json:"mandate_count"`
	MandatesDigest []byte                  `json:"mandates_digest"`
	SettlingMS     int64                   `json:"settling_ms"`
	GatewayCount   int                     `json:"gateway_count"`
	GatewaysDigest []byte                  `json:"gateways_digest"` // SHA-256 of their parts as JSON, in the order of their ids
}

// MandatesDigest is the SHA-256 of ids in the order of their bytes, each with a line feed behind it.
func MandatesDigest(ids []authority.MandateID) []byte {
	hash := sha256.New()
	for _, id := range slices.Sorted(slices.Values(ids)) {
		hash.Write([]byte(id + "\n"))
	}
	return hash.Sum(nil)
}

// enforcement are the claims of an enforced receipt in a deployment.
func enforcement(deployment string, r authority.Receipt, gateways []authority.GatewayReceipt) (receiptClaims, error) {
	if r.State != authority.ReceiptEnforced || r.EffectiveAt == nil {
		return receiptClaims{}, fmt.Errorf("%w: it is %s", ErrReceipt, r.State)
	}
	utc := func(at *time.Time) *time.Time {
		if at == nil {
			return nil
		}
		shown := at.UTC()
		return &shown
	}
	parts := slices.Clone(gateways)
	slices.SortFunc(parts, func(a, b authority.GatewayReceipt) int {
		return bytes.Compare([]byte(a.GatewayID), []byte(b.GatewayID))
	})
	digest := sha256.New()
	for _, g := range parts {
		g.FencedUntil, g.EnforcedAt, g.FencedAt = utc(g.FencedUntil), utc(g.EnforcedAt), utc(g.FencedAt)
		text, err := json.Marshal(g)
		if err != nil {
			return receiptClaims{}, fmt.Errorf("%w: %w", ErrReceipt, err)
		}
		digest.Write(append(text, '\n'))
	}
	return receiptClaims{
		Issuer: deployment, Audience: audience(r.WorkspaceID, PurposeReceipt), ID: r.ID, IssuedAt: r.EffectiveAt.Unix(),
		Kind: r.Kind, Target: r.Target, Revision: r.Revision, Timeline: r.Timeline, RequestedBy: r.RequestedBy,
		RevokedAt: r.RevokedAt.UTC(), CreatedAt: r.CreatedAt.UTC(), EffectiveAt: r.EffectiveAt.UTC(),
		MandateCount: r.MandateCount, MandatesDigest: r.MandatesDigest, SettlingMS: r.SettlingMS,
		GatewayCount: len(parts), GatewaysDigest: digest.Sum(nil),
	}, nil
}

// SignReceipt makes the signature of an enforced receipt over all that it says and the parts of its gateways. EffectiveAt
// must lie in the key's period.
func SignReceipt(key SigningKey, deployment string, r authority.Receipt, gateways []authority.GatewayReceipt) (string, error) {
	claims, err := enforcement(deployment, r, gateways)
	if err != nil {
		return "", fmt.Errorf("sign receipt %s: %w", r.ID, err)
	}
	text, err := key.sign(PurposeReceipt, *r.EffectiveAt, claims)
	if err != nil {
		return "", fmt.Errorf("sign receipt %s: %w", r.ID, err)
	}
	if len(text) > maxReceipt {
		return "", fmt.Errorf("sign receipt %s: %w", r.ID, ErrTooLarge)
	}
	return text, nil
}

// VerifyReceipt checks, offline, that this workspace of this deployment signed exactly what the receipt and the parts of
// its gateways say. Which mandates it ended is said by MandatesDigest.
func (s KeySet) VerifyReceipt(r authority.Receipt, gateways []authority.GatewayReceipt) error {
	signed, err := s.open(r.Signature, PurposeReceipt, maxReceipt)
	if err != nil {
		return fmt.Errorf("verify receipt %s: %w", r.ID, err)
	}
	claims, err := enforcement(s.Deployment, r, gateways)
	if err != nil {
		return fmt.Errorf("verify receipt %s: %w", r.ID, err)
	}
	want, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("verify receipt %s: %w", r.ID, err)
	}
	if !bytes.Equal(signed.payload, want) {
		return fmt.Errorf("verify receipt %s: %w: it does not say what was signed", r.ID, ErrReceipt)
	}
	return nil
}
