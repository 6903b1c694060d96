package token_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

func bound(der string) *authority.Confirmation {
	return &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte(der))}
}

func TestABoundTokenIsForWhoKnowsTheCertificateOnly(t *testing.T) {
	w := newWorld()
	want := w.newAccess()
	want.Confirmation = bound("alice's")
	jws := w.signAccess(t, want)
	if _, err := w.set.VerifyAccess(jws, epoch); !errors.Is(err, token.ErrBound) {
		t.Errorf("without a certificate it is %v, want %v", err, token.ErrBound)
	}
	got, err := w.set.VerifyConfirmable(jws, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-signed +verified)\n%s", diff)
	}
	if !got.Confirmation.MetBy(authority.ThumbprintOf([]byte("alice's"))) || got.Confirmation.MetBy(authority.ThumbprintOf([]byte("bob's"))) {
		t.Error("the confirmation is not met by the certificate that it was signed for, and by no other")
	}
}

func TestAConfirmationThatCannotBeCheckedIsRefused(t *testing.T) {
	w := newWorld()
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-access+jwt"}`, w.access.ID)
	thumbprint := authority.ThumbprintOf([]byte("alice's"))
	for sentence, cnf := range map[string]string{
		"null":                               `null`,
		"a text":                             `"x5t#S256"`,
		"no method":                          `{}`,
		"another method":                     `{"jkt":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}`,
		"two methods":                        fmt.Sprintf(`{"x5t#S256":%q,"jkt":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}`, thumbprint),
		"the method twice":                   fmt.Sprintf(`{"x5t#S256":%q,"x5t#S256":%q}`, thumbprint, thumbprint),
		"an empty thumbprint":                `{"x5t#S256":""}`,
		"a number":                           `{"x5t#S256":1}`,
		"a thumbprint of another length":     `{"x5t#S256":"AAAA"}`,
		"a thumbprint with padding":          fmt.Sprintf(`{"x5t#S256":"%s="}`, thumbprint),
		"a thumbprint in its other spelling": fmt.Sprintf(`{"x5t#S256":"%s"}`, otherThumbprint(thumbprint)),
	} {
		t.Run(sentence, func(t *testing.T) {
			jws := forge(w.access, header, fmt.Sprintf(`{"iss":%q,"aud":"%s/token","sub":"prn_aaaaaaaaaaaaaaaaaaaaaaaaaa","jti":"tok1","iat":%d,"exp":%d,"cnf":%s}`,
				deployment, w.set.Workspace, epoch.Unix(), epoch.Add(time.Minute).Unix(), cnf))
			if _, err := w.set.VerifyConfirmable(jws, epoch); !errors.Is(err, token.ErrClaims) {
				t.Errorf("got %v, want %v", err, token.ErrClaims)
			}
		})
	}
}

// otherThumbprint changes the bits of the last character that the digest does not use.
func otherThumbprint(t authority.Thumbprint) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := t[len(t)-1]
	for i := range alphabet {
		if alphabet[i] == last {
			return string(t[:len(t)-1]) + string(alphabet[i^1])
		}
	}
	return ""
}

func TestAMandateWithoutAConfirmationIsSignedAsBeforeThereWereAny(t *testing.T) {
	w := newWorld()
	m := w.newMandate(t)
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-mandate+jwt"}`, w.mandate.ID)
	m.Signature = forge(w.mandate, header, fmt.Sprintf(
		`{"iss":%q,"aud":"%s/mandate","jti":%q,"sub":%q,"iat":%d,"nbf":%d,"exp":%d,"issuer_id":%q,"resource_scope":["api:external/*","db:a\u0026b"],`+
			`"action_scope":["execute","read"],"parent_mandate_id":%q,"delegation_depth":2,"level":1,"requested_by":%q,"consent":"explicit","policy_id":%q,"policy_version":3}`,
		deployment, m.WorkspaceID, m.ID, m.SubjectID, m.CreatedAt.Unix(), m.ValidFrom.Unix(), m.ValidUntil.Unix(), m.IssuerID, *m.ParentID, m.RequestedBy, m.PolicyID))
	if err := w.set.VerifyMandate(m); err != nil {
		t.Errorf("a mandate of an earlier version does not verify: %v", err)
	}
	m.Confirmation = bound("mallory's")
	if err := w.set.VerifyMandate(m); !errors.Is(err, token.ErrMandateTerms) {
		t.Errorf("a confirmation that was added later is %v, want %v", err, token.ErrMandateTerms)
	}
}
