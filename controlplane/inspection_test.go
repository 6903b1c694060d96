package controlplane_test

import (
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/inspection"
)

// inspectionCA is that of the caller's workspace.
func (w *world) inspectionCA(c controlplane.Caller) string {
	w.t.Helper()
	return must(w.InspectionCA(w.t.Context(), c))(w.t).Certificate
}

func certificateRequest(t *testing.T) inspection.Request {
	t.Helper()
	return must(inspection.NewRequest())(t)
}

func TestAWorkspaceHasAnInspectionCAOfItsOwn(t *testing.T) {
	w := newWorld(t)
	_, other := w.workspace("other")
	own := w.inspectionCA(w.owner)
	if own != w.inspectionCA(w.owner) || own == w.inspectionCA(other) {
		t.Error("it is another each time, or another workspace's")
	}
	_, agent := w.agent(w.owner, "agent", authority.Agent)
	if w.inspectionCA(agent) != own || w.inspectionCA(w.as(w.edgeKey(w.owner).APIKey)) != own {
		t.Error("agents and gateways are told another one")
	}
	block, _ := pem.Decode([]byte(own))
	root := must(x509.ParseCertificate(block.Bytes))(t)
	if !root.IsCA || root.Subject.SerialNumber != string(w.owner.Workspace()) {
		t.Errorf("it is of %v", root.Subject)
	}
}

func TestAWorkspaceOfBeforeThereWereInspectionCAsGetsOne(t *testing.T) {
	w := newWorld(t)
	before := w.inspectionCA(w.owner)
	w.asOwner("DELETE FROM inspection_authorities")
	made := make([]string, 8)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() { made[i] = w.inspectionCA(w.owner) })
	}
	all.Wait()
	for _, m := range made {
		if m != made[0] || m == before || m == "" {
			t.Fatal("those who asked at the same time got several")
		}
	}
}

func TestAGatewayIsCertifiedUnderItsWorkspacesCA(t *testing.T) {
	w := newWorld(t)
	e := w.edge(w.owner, "edge")
	asked := certificateRequest(t)
	certified := must(w.CertifyGateway(t.Context(), e.caller, e.id, asked.DER()))(t)
	if string(inspection.PEM(certified.Root)) != w.inspectionCA(w.owner) {
		t.Error("the root is not the workspace's")
	}
	issuer := must(asked.Accept(certified.Certificate, certified.Root, time.Now()))(t)
	certificate := issuer.Intermediate()
	if certificate.Subject.SerialNumber != string(e.id) {
		t.Errorf("it is of %v", certificate.Subject)
	}
	events := must(w.Events(t.Context(), w.owner, controlplane.EventFilter{Type: authority.EventInspectionCertificateIssued}, controlplane.Page{}))(t).Items
	if len(events) != 1 || events[0].ActorKeyID == "" {
		t.Fatalf("events: %+v", events)
	}
	want := map[string]any{"gateway_id": string(e.id), "serial": certificate.SerialNumber.Text(16), "not_after": certificate.NotAfter.Format(time.RFC3339)}
	if diff := cmp.Diff(want, events[0].Detail); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
}

func TestWhoIsNotCertified(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	e, other := w.edge(w.owner, "edge"), w.edge(w.owner, "other")
	_, stranger := w.workspace("strangers")
	foreign := w.edge(stranger, "edge")
	for sentence, c := range map[string]struct {
		caller controlplane.Caller
		id     authority.GatewayID
		der    []byte
		code   authority.Code
	}{
		"a process of another gateway key": {other.caller, e.id, certificateRequest(t).DER(), authority.CodeNotFound},
		"a process of another workspace":   {e.caller, foreign.id, certificateRequest(t).DER(), authority.CodeNotFound},
		"a process that is none":           {e.caller, "gtw_aaaaaaaaaaaaaaaaaaaaaaaaaa", certificateRequest(t).DER(), authority.CodeNotFound},
		"a process whose request is none":  {e.caller, e.id, []byte("x"), authority.CodeInvalid},
		"an owner":                         {w.owner, e.id, certificateRequest(t).DER(), authority.CodeForbidden},
	} {
		_, err := w.CertifyGateway(ctx, c.caller, c.id, c.der)
		if t.Run(sentence, func(t *testing.T) { wantCode(t, err, c.code) }); err == nil {
			t.Error("certified")
		}
	}
	t.Run("a process that asks too often", func(t *testing.T) {
		var err error
		for range 6 {
			must(w.CertifyGateway(ctx, other.caller, other.id, certificateRequest(t).DER()))(t)
		}
		_, err = w.CertifyGateway(ctx, other.caller, other.id, certificateRequest(t).DER())
		wantCode(t, err, authority.CodeLimited)
		must(w.CertifyGateway(ctx, e.caller, e.id, certificateRequest(t).DER()))(t)
	})
	t.Run("a process that is revoked", func(t *testing.T) {
		must(w.RevokeGateway(ctx, w.owner, e.id, 0))(t)
		_, err := w.CertifyGateway(ctx, e.caller, e.id, certificateRequest(t).DER())
		wantCode(t, err, authority.CodeForbidden)
	})
	t.Run("a process that was declared dead", func(t *testing.T) {
		must(w.ForgetGateway(ctx, w.owner, other.id, controlplane.Forgetting{Reason: "scrapped"}))(t)
		_, err := w.CertifyGateway(ctx, other.caller, other.id, certificateRequest(t).DER())
		wantCode(t, err, authority.CodeNotFound)
	})
}
