package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// maxMandate is the size of the largest signature of a mandate that is read, in bytes.
const maxMandate = 256 << 10

// mandateClaims are the terms of a mandate: all that it says but whether it has been revoked. Every member is always
// written, in this order, so that the terms have one spelling; only a mandate that is bound to no key has no cnf.
type mandateClaims struct {
	Issuer          string                      `json:"iss"`
	Audience        string                      `json:"aud"`
	ID              authority.MandateID         `json:"jti"`
	SubjectID       authority.PrincipalID       `json:"sub"`
	IssuedAt        int64                       `json:"iat"`
	ValidFrom       int64                       `json:"nbf"`
	ValidUntil      int64                       `json:"exp"`
	IssuerID        authority.PrincipalID       `json:"issuer_id"`
	ResourceScope   []authority.ResourcePattern `json:"resource_scope"`
	ActionScope     authority.Actions           `json:"action_scope"`
	ParentID        *authority.MandateID        `json:"parent_mandate_id"`
	DelegationDepth int                         `json:"delegation_depth"`
	Level           int                         `json:"level"`
	RequestedBy     authority.PrincipalID       `json:"requested_by"`
	Consent         authority.Consent           `json:"consent"`
	PolicyID        authority.PolicyID          `json:"policy_id"`
	PolicyVersion   int64                       `json:"policy_version"`
	Confirmation    *authority.Confirmation     `json:"cnf,omitempty"`
}

// terms are the claims of a mandate in a deployment. A time that the claims cannot hold exactly is ErrMandateTerms;
// only CreatedAt is cut to its second.
func terms(deployment string, m authority.Mandate) (mandateClaims, error) {
	if m.ValidFrom.Nanosecond() != 0 || m.ValidUntil.Nanosecond() != 0 {
		return mandateClaims{}, fmt.Errorf("%w: its validity is not in whole seconds", ErrMandateTerms)
	}
	return mandateClaims{
		Issuer:          deployment,
		Audience:        audience(m.WorkspaceID, PurposeMandate),
		ID:              m.ID,
		SubjectID:       m.SubjectID,
		IssuedAt:        m.CreatedAt.Unix(),
		ValidFrom:       m.ValidFrom.Unix(),
		ValidUntil:      m.ValidUntil.Unix(),
		IssuerID:        m.IssuerID,
		ResourceScope:   append([]authority.ResourcePattern{}, m.ResourceScope...),
		ActionScope:     append(authority.Actions{}, m.ActionScope...),
		ParentID:        m.ParentID,
		DelegationDepth: m.DelegationDepth,
		Level:           m.Level,
		RequestedBy:     m.RequestedBy,
		Consent:         m.Consent,
		PolicyID:        m.PolicyID,
		PolicyVersion:   m.PolicyVersion,
		Confirmation:    m.Confirmation,
	}, nil
}

// SignMandate makes the signature of a mandate over all its terms: everything but its revocation. CreatedAt must lie
// in the key's period, and the validity be in whole seconds.
func SignMandate(key SigningKey, deployment string, m authority.Mandate) (string, error) {
	claims, err := terms(deployment, m)
	if err != nil {
		return "", fmt.Errorf("sign mandate %s: %w", m.ID, err)
	}
	text, err := key.sign(PurposeMandate, m.CreatedAt, claims)
	if err != nil {
		return "", fmt.Errorf("sign mandate %s: %w", m.ID, err)
	}
	if len(text) > maxMandate {
		return "", fmt.Errorf("sign mandate %s: %w", m.ID, ErrTooLarge)
	}
	return text, nil
}

// DetachMandate leaves the payload out of a mandate's signature, which is a compact JWS: the payload follows from the
// terms. VerifyMandate takes either form.
func DetachMandate(signature string) string {
	header, rest, ok := strings.Cut(signature, ".")
	if !ok {
		return signature
	}
	if _, signed, ok := strings.Cut(rest, "."); ok {
		return header + ".." + signed
	}
	return signature
}

// VerifyMandate checks, offline, that the mandate's signature was made in this deployment and workspace over exactly
// the terms that the mandate has now. Whether it holds, or was revoked, is another question.
func (s KeySet) VerifyMandate(m authority.Mandate) error {
	claims, err := terms(s.Deployment, m)
	if err != nil {
		return fmt.Errorf("verify mandate %s: %w", m.ID, err)
	}
	want, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("verify mandate %s: %w", m.ID, err)
	}
	text := m.Signature
	if header, signed, detached := strings.Cut(text, ".."); detached {
		text = header + "." + base64.RawURLEncoding.EncodeToString(want) + "." + signed
	}
	signed, err := s.open(text, PurposeMandate, maxMandate)
	if err != nil {
		return fmt.Errorf("verify mandate %s: %w", m.ID, err)
	}
	if !bytes.Equal(signed.payload, want) {
		return fmt.Errorf("verify mandate %s: %w", m.ID, ErrMandateTerms)
	}
	return nil
}
