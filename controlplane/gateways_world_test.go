package controlplane_test

import (
	"crypto/rand"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
)

// current is a program that reads what this control plane serves.
var current = controlplane.Program{Version: "test", Formats: []uint32{bundle.Format}}

// edge is a gateway process, as far as the control plane can tell.
type edge struct {
	id     authority.GatewayID
	caller controlplane.Caller
}

func (w *world) edgeKey(owner controlplane.Caller) controlplane.CreatedKey {
	w.t.Helper()
	return must(w.CreateKey(w.t.Context(), owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge"}))(w.t).Value
}

func publicKey() []byte {
	public := make([]byte, 32)
	rand.Read(public)
	return public
}

// enrol makes a process of a gateway key.
func (w *world) enrol(caller controlplane.Caller, instance string) edge {
	w.t.Helper()
	e := must(w.EnrolGateway(w.t.Context(), caller, controlplane.Enrolment{PublicKey: publicKey(), Instance: instance, Program: current}))(w.t)
	return edge{e.GatewayID, caller}
}

// edge enrols a process with a key of its own and has it granted a lease at the present revision.
func (w *world) edge(owner controlplane.Caller, instance string) edge {
	w.t.Helper()
	e := w.enrol(w.as(w.edgeKey(owner).APIKey), instance)
	w.hold(e)
	return e
}

// hold has a process granted a lease at the present revision.
func (w *world) hold(e edge) controlplane.Granted {
	w.t.Helper()
	revision := must(w.Revision(w.t.Context(), e.caller))(w.t)
	granted := must(w.Renew(w.t.Context(), e.caller, e.id, controlplane.Renewal{Revision: revision}))(w.t)
	if granted.Number == 0 {
		w.t.Fatalf("no lease is granted: %+v", granted)
	}
	return granted
}

func acknowledge(t *testing.T, s *controlplane.Service, e edge, revision uint64) {
	t.Helper()
	if err := s.Acknowledge(t.Context(), e.caller, e.id, controlplane.Acknowledgement{Revision: revision}); err != nil {
		t.Fatal(err)
	}
}
