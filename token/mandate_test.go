package token_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

func (w world) newMandate(t *testing.T) authority.Mandate {
	t.Helper()
	parent := authority.NewID[authority.MandateID]()
	m := authority.Mandate{
		ID:              authority.NewID[authority.MandateID](),
		WorkspaceID:     w.set.Workspace,
		IssuerID:        authority.NewID[authority.PrincipalID](),
		SubjectID:       authority.NewID[authority.PrincipalID](),
		ResourceScope:   []authority.ResourcePattern{"api:external/*", "db:a&b"},
		ActionScope:     authority.Actions{authority.Execute, authority.Read},
		ValidFrom:       epoch,
		ValidUntil:      epoch.Add(time.Hour),
		ParentID:        &parent,
		DelegationDepth: 2,
		Level:           1,
		RequestedBy:     authority.NewID[authority.PrincipalID](),
		Consent:         authority.ConsentExplicit,
		PolicyID:        authority.NewID[authority.PolicyID](),
		PolicyVersion:   3,
		CreatedAt:       epoch.Add(123456 * time.Microsecond),
	}
	var err error
	if m.Signature, err = token.SignMandate(w.mandate, deployment, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAMandateVerifiesOffline(t *testing.T) {
	w := newWorld()
	m := w.newMandate(t)
	if err := w.set.VerifyMandate(m); err != nil {
		t.Fatal(err)
	}
	revoked := m
	at := epoch.Add(time.Minute)
	revoked.Revoked, revoked.RevokedAt, revoked.RevokedBy = true, &at, m.IssuerID
	if err := w.set.VerifyMandate(revoked); err != nil {
		t.Errorf("its revocation is no part of its terms: %v", err)
	}
	elsewhere := m
	elsewhere.ValidFrom = m.ValidFrom.In(time.FixedZone("", 3600))
	if err := w.set.VerifyMandate(elsewhere); err != nil {
		t.Errorf("the same instant on another clock: %v", err)
	}
}

// A field that is added to the mandate fails this test until it is signed, or named here.
func TestEveryTermOfAMandateIsSigned(t *testing.T) {
	w := newWorld()
	notTerms := map[string]bool{"Revoked": true, "RevokedAt": true, "RevokedBy": true, "Signature": true}
	fields := reflect.TypeFor[authority.Mandate]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if notTerms[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			m := w.newMandate(t)
			change(t, reflect.ValueOf(&m).Elem().Field(i))
			err := w.set.VerifyMandate(m)
			if !errors.Is(err, token.ErrMandateTerms) {
				t.Errorf("error %v, want %v", err, token.ErrMandateTerms)
			}
		})
	}
}

// change makes a field something else, of the same type.
func change(t *testing.T, field reflect.Value) {
	t.Helper()
	switch value := field.Addr().Interface().(type) {
	case *time.Time:
		*value = value.Add(time.Second)
	case *[]authority.ResourcePattern:
		*value = append(*value, "api:more")
	case *authority.Actions:
		*value = append(*value, authority.Write)
	case **authority.MandateID:
		*value = nil
	case **authority.Confirmation:
		*value = bound("somebody's")
	default:
		switch field.Kind() {
		case reflect.String:
			field.SetString(field.String() + "x")
		case reflect.Int, reflect.Int64:
			field.SetInt(field.Int() + 1)
		default:
			t.Fatalf("this test cannot change a %s", field.Type())
		}
	}
}

func TestAMandateIsRefusedWith(t *testing.T) {
	w, stranger := newWorld(), newWorld()
	good := w.newMandate(t)
	payload := fmt.Sprintf(`{"iss":%q,"aud":"%s/mandate","iat":%d,"jti":%q}`, deployment, w.set.Workspace, epoch.Unix(), good.ID)
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"caracal-mandate+jwt"}`, w.mandate.ID)
	for name, test := range map[string]struct {
		change func(*authority.Mandate)
		want   error
	}{
		"no signature":                         {func(m *authority.Mandate) { m.Signature = "" }, token.ErrMalformed},
		"the signature of another":             {func(m *authority.Mandate) { m.Signature = w.newMandate(t).Signature }, token.ErrMandateTerms},
		"a signature of another workspace":     {func(m *authority.Mandate) { *m = stranger.newMandate(t) }, token.ErrUnknownKey},
		"an access token as its signature":     {func(m *authority.Mandate) { m.Signature = w.signAccess(t, w.newAccess()) }, token.ErrType},
		"a signature over a part of its terms": {func(m *authority.Mandate) { m.Signature = forge(w.mandate, header, payload) }, token.ErrMandateTerms},
		"an end between two seconds":           {func(m *authority.Mandate) { m.ValidUntil = m.ValidUntil.Add(time.Millisecond) }, token.ErrMandateTerms},
		"a start between two seconds":          {func(m *authority.Mandate) { m.ValidFrom = m.ValidFrom.Add(time.Millisecond) }, token.ErrMandateTerms},
		"a signature without end":              {func(m *authority.Mandate) { m.Signature += strings.Repeat("A", 256<<10) }, token.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			test.change(&m)
			if err := w.set.VerifyMandate(m); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestAMandateOutlivesTheSigningOfItsKey(t *testing.T) {
	w := newWorld()
	m := w.newMandate(t)
	m.ValidUntil = epoch.Add(365 * 24 * time.Hour)
	var err error
	if m.Signature, err = token.SignMandate(w.mandate, deployment, m); err != nil {
		t.Fatal(err)
	}
	if err := w.set.VerifyMandate(m); err != nil {
		t.Errorf("its key signed it in time: %v", err)
	}
	m.CreatedAt = w.mandate.RetireAt
	if _, err := token.SignMandate(w.mandate, deployment, m); !errors.Is(err, token.ErrKeyPeriod) {
		t.Errorf("a retired key signs: error %v, want %v", err, token.ErrKeyPeriod)
	}
}

func TestAMandateWithoutScopeHasOneSpelling(t *testing.T) {
	w := newWorld()
	m := w.newMandate(t)
	m.ResourceScope, m.ActionScope = nil, nil
	var err error
	if m.Signature, err = token.SignMandate(w.mandate, deployment, m); err != nil {
		t.Fatal(err)
	}
	m.ResourceScope, m.ActionScope = []authority.ResourcePattern{}, authority.Actions{}
	if err := w.set.VerifyMandate(m); err != nil {
		t.Errorf("an empty list read back: %v", err)
	}
}
