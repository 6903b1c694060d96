package sync_test

import (
	"crypto/ed25519"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

func TestOnlyTheProcessItselfIsCertified(t *testing.T) {
	p := newPlane(t)
	m := p.team("ours")
	key := p.gatewayKey(m)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, forger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &process{plane: p, key: must(token.ParseAPIKey(key.APIKey))(t), private: private}
	authorised := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key.APIKey)
	id := must(p.client.Enrol(authorised, g.enrolment("ours")))(t).GetGatewayId()
	der, other := must(inspection.NewRequest())(t).DER(), must(inspection.NewRequest())(t).DER()
	const noProof = "proof is not by the gateway's enrolled key"
	for sentence, c := range map[string]struct {
		request *syncpb.CertifyRequest
		code    codes.Code
		message string
	}{
		"with a proof of its own":                 {&syncpb.CertifyRequest{GatewayId: id, Request: der, Proof: bundle.CertifyProof(private, authority.GatewayID(id), der)}, codes.OK, ""},
		"with a proof of another process":         {&syncpb.CertifyRequest{GatewayId: id, Request: der, Proof: bundle.CertifyProof(forger, authority.GatewayID(id), der)}, codes.Unauthenticated, noProof},
		"with a proof of another request":         {&syncpb.CertifyRequest{GatewayId: id, Request: other, Proof: bundle.CertifyProof(private, authority.GatewayID(id), der)}, codes.Unauthenticated, noProof},
		"with a proof for another gateway":        {&syncpb.CertifyRequest{GatewayId: id, Request: der, Proof: bundle.CertifyProof(private, "gtw_other", der)}, codes.Unauthenticated, noProof},
		"with a proof for the stream":             {&syncpb.CertifyRequest{GatewayId: id, Request: der, Proof: bundle.StreamProof(private, der)}, codes.Unauthenticated, noProof},
		"without a proof":                         {&syncpb.CertifyRequest{GatewayId: id, Request: der}, codes.Unauthenticated, noProof},
		"with a request that proves no key":       {&syncpb.CertifyRequest{GatewayId: id, Request: []byte("x"), Proof: bundle.CertifyProof(private, authority.GatewayID(id), []byte("x"))}, codes.InvalidArgument, "certificate request"},
		"as a gateway that has not been enrolled": {&syncpb.CertifyRequest{GatewayId: "gtw_other", Request: der}, codes.NotFound, "gateway"},
	} {
		t.Run(sentence, func(t *testing.T) {
			answer, err := p.client.Certify(authorised, c.request)
			wantStatus(t, err, c.code, c.message)
			if (err == nil) != (len(answer.GetCertificate()) > 0) {
				t.Errorf("answered %v", answer)
			}
		})
	}
}
