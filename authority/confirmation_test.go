package authority_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func boundTo(der string) *authority.Confirmation {
	return &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte(der))}
}

func TestAConfirmationIsMetByItsCertificateOnly(t *testing.T) {
	alices := authority.ThumbprintOf([]byte("alice's"))
	for sentence, c := range map[string]struct {
		confirmation *authority.Confirmation
		presented    authority.Thumbprint
		met          bool
	}{
		"what is bound to none needs none":         {nil, "", true},
		"what is bound to none takes any":          {nil, alices, true},
		"its own certificate":                      {boundTo("alice's"), alices, true},
		"no certificate":                           {boundTo("alice's"), "", false},
		"another certificate":                      {boundTo("alice's"), authority.ThumbprintOf([]byte("bob's")), false},
		"a part of its thumbprint":                 {boundTo("alice's"), alices[:20], false},
		"an empty confirmation is met by nobody":   {&authority.Confirmation{}, "", false},
		"an empty confirmation, whoever presents ": {&authority.Confirmation{}, alices, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := c.confirmation.MetBy(c.presented); got != c.met {
				t.Errorf("met is %t, want %t", got, c.met)
			}
		})
	}
}

func TestAMandateIsBoundAsItWasAskedFor(t *testing.T) {
	w := newWorld()
	ask := authority.IssueRequest{
		IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/*").of("execute"), ValiditySeconds: 3600, Confirmation: boundTo("alice's"),
	}
	root, err := w.issue("owner", ask)
	if err != nil {
		t.Fatal(err)
	}
	if root.Confirmation == nil || *root.Confirmation != *boundTo("alice's") {
		t.Errorf("the mandate is bound to %v", root.Confirmation)
	}
	ask.Confirmation = &authority.Confirmation{Certificate: "short"}
	_, err = w.issue("owner", ask)
	wantInvalid(t, err, "confirmation.x5t#S256")

	child := authority.DelegateRequest{ParentID: root.ID, ChildID: "bob", Scope: scope("api:external/openai").of("execute"), ValiditySeconds: 900}
	inherited, err := w.delegate("alice", child, now)
	if err != nil {
		t.Fatal(err)
	}
	if inherited.Confirmation == nil || *inherited.Confirmation != *boundTo("alice's") {
		t.Errorf("a child that names no certificate is bound to %v, want its parent's", inherited.Confirmation)
	}
	child.ChildID, child.Confirmation = "carol", boundTo("carol's")
	own, err := w.delegate("alice", child, now)
	if err != nil {
		t.Fatal(err)
	}
	if own.Confirmation == nil || *own.Confirmation != *boundTo("carol's") {
		t.Errorf("a child that names a certificate is bound to %v", own.Confirmation)
	}
	child.ChildID, child.Confirmation = "dave", &authority.Confirmation{}
	_, err = w.delegate("alice", child, now)
	wantInvalid(t, err, "confirmation.x5t#S256")
}

func wantInvalid(t *testing.T, err error, field string) {
	t.Helper()
	var told *authority.Error
	if !errors.As(err, &told) || told.Code != authority.CodeInvalid || told.Field != field {
		t.Errorf("got %v, want an invalid_request about %s", err, field)
	}
}

func TestABoundMandateIsForWhoShowsItsCertificate(t *testing.T) {
	for sentence, c := range map[string]struct {
		presenter   authority.PrincipalID
		certificate authority.Thumbprint
		unpresented bool
		want        authority.Reason
	}{
		"its subject with the certificate":            {presenter: "alice", certificate: authority.ThumbprintOf([]byte("alice's"))},
		"its subject without one":                     {presenter: "alice", want: authority.ReasonBindingMismatch},
		"its subject with another":                    {presenter: "alice", certificate: authority.ThumbprintOf([]byte("bob's")), want: authority.ReasonBindingMismatch},
		"another principal with the certificate":      {presenter: "bob", certificate: authority.ThumbprintOf([]byte("alice's")), want: authority.ReasonSubjectMismatch},
		"nobody, who asks only":                       {presenter: "alice", unpresented: true},
		"nobody, asking for another than its subject": {presenter: "bob", unpresented: true, want: authority.ReasonSubjectMismatch},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld()
			root, err := w.issue("owner", authority.IssueRequest{
				IssuerID: "owner", SubjectID: "alice", Scope: scope("api:external/*").of("execute"), ValiditySeconds: 3600, Confirmation: boundTo("alice's"),
			})
			if err != nil {
				t.Fatal(err)
			}
			found := authority.Validate(w, authority.Inquiry{
				Mandate: root.ID, Presenter: c.presenter, Certificate: c.certificate, Unpresented: c.unpresented,
				Resource: "api:external/openai", Action: "execute", At: now,
			})
			if found.Reason != c.want || found.Holds() != (c.want == "") || found.Facts.Presenter != (c.want == "") {
				t.Errorf("found %q with %+v, want %q", found.Reason, found.Facts, c.want)
			}
		})
	}
}

func TestAChildThatShedsItsParentsBindingDoesNotHold(t *testing.T) {
	w := newWorld()
	root, child, _ := w.family(t)
	w.mandates[root.ID].Confirmation = boundTo("alice's")
	found := authority.Validate(w, authority.Inquiry{Mandate: child.ID, Presenter: "bob", Resource: "api:external/openai", Action: "execute", At: now})
	if found.Reason != authority.ReasonChainInvalid || !strings.Contains(found.Message, "bound to no certificate") {
		t.Errorf("found %q: %s", found.Reason, found.Message)
	}
	w.mandates[child.ID].Confirmation = boundTo("bob's")
	found = authority.Validate(w, authority.Inquiry{
		Mandate: child.ID, Presenter: "bob", Certificate: authority.ThumbprintOf([]byte("bob's")), Resource: "api:external/openai", Action: "execute", At: now,
	})
	if !found.Holds() {
		t.Errorf("bound to a certificate of its own it is found %q: %s", found.Reason, found.Message)
	}
}
