package sync_test

import (
	"crypto/ed25519"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

func TestOnlyTheHolderOfAGatewayKeyEnrols(t *testing.T) {
	p := newPlane(t)
	ours, theirs := p.team("ours"), p.team("theirs")
	key, other, revoked := p.gatewayKey(ours), p.gatewayKey(theirs), p.gatewayKey(ours)
	must(p.RevokeKey(t.Context(), ours.owner, revoked.ID))(t)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, forger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := func(key string) *syncpb.EnrolRequest {
		g := &process{plane: p, key: must(token.ParseAPIKey(key))(t), private: private}
		return g.enrolment("ours")
	}
	but := func(change func(*syncpb.EnrolRequest)) *syncpb.EnrolRequest {
		r := good(key.APIKey)
		change(r)
		return r
	}
	const noKey, noProof = "gateway key is needed", "proof is not by the key"
	for sentence, c := range map[string]struct {
		authorization []string
		request       *syncpb.EnrolRequest
		code          codes.Code
		message       string
	}{
		"with everything right": {[]string{"Bearer " + key.APIKey}, good(key.APIKey), codes.OK, ""},
		"for a workspace that is not the key's": {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.Workspace = "theirs" }),
			codes.PermissionDenied, `belongs to the workspace "ours", not to "theirs"`},
		"for a workspace that is none": {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.Workspace = "" }),
			codes.PermissionDenied, `belongs to the workspace "ours"`},
		"with the key of another workspace": {[]string{"Bearer " + other.APIKey}, good(other.APIKey), codes.PermissionDenied, `belongs to the workspace "theirs"`},
		"with an agent's key":               {[]string{"Bearer " + ours.agentKey}, good(ours.agentKey), codes.PermissionDenied, "one of the kind agent"},
		"with an owner's key":               {[]string{"Bearer " + ours.ownerKey}, good(ours.ownerKey), codes.PermissionDenied, "one of the kind member"},
		"with a revoked key":                {[]string{"Bearer " + revoked.APIKey}, good(revoked.APIKey), codes.Unauthenticated, "revoked"},
		"with the deployment's setup key":   {[]string{"Bearer " + setupKey}, good(key.APIKey), codes.Unauthenticated, noKey},
		"without a key":                     {nil, good(key.APIKey), codes.Unauthenticated, noKey},
		"with two keys":                     {[]string{"Bearer " + key.APIKey, "Bearer " + key.APIKey}, good(key.APIKey), codes.Unauthenticated, noKey},
		"with a key of no scheme":           {[]string{key.APIKey}, good(key.APIKey), codes.Unauthenticated, noKey},
		"with a key of another scheme":      {[]string{"Basic " + key.APIKey}, good(key.APIKey), codes.Unauthenticated, noKey},
		"with the proof of another process": {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) {
			r.Proof = bundle.EnrolProof(forger, must(token.ParseAPIKey(key.APIKey))(t))
		}), codes.Unauthenticated, noProof},
		"with a proof for another gateway key": {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) {
			r.Proof = bundle.EnrolProof(private, must(token.ParseAPIKey(other.APIKey))(t))
		}), codes.Unauthenticated, noProof},
		"without a proof":                      {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.Proof = nil }), codes.Unauthenticated, noProof},
		"with more formats than there can be":  {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.Formats = make([]uint32, 65) }), codes.InvalidArgument, "lists more than 64"},
		"with a public key of a wrong length":  {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.PublicKey = r.PublicKey[1:] }), codes.Unauthenticated, noProof},
		"with a public key of another process": {[]string{"Bearer " + key.APIKey}, but(func(r *syncpb.EnrolRequest) { r.PublicKey = forger.Public().(ed25519.PublicKey) }), codes.Unauthenticated, noProof},
	} {
		t.Run(sentence, func(t *testing.T) {
			ctx := t.Context()
			for _, value := range c.authorization {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
			}
			answer, err := p.client.Enrol(ctx, c.request)
			wantStatus(t, err, c.code, c.message)
			if (err == nil) != (answer.GetGatewayId() != "") {
				t.Errorf("answered %v", answer)
			}
		})
	}
	if enrolled := must(p.Gateways(t.Context(), ours.owner))(t); len(enrolled) != 1 {
		t.Errorf("%d gateways are enrolled, want the one with everything right", len(enrolled))
	}
}

func TestAProcessThatEnrolsAgainIsTheSameGateway(t *testing.T) {
	p := newPlane(t)
	ours := p.team("ours")
	g := p.process(ours, p.gatewayKey(ours).APIKey)
	again := must(p.client.Enrol(bearing(t.Context(), g.key.Reveal()), g.enrolment("ours")))(t)
	if again.GetGatewayId() != g.id {
		t.Errorf("it is %s, and was %s", again.GetGatewayId(), g.id)
	}
	keys, err := token.OpenKeySet(again.GetKeySet(), g.key.Root)
	if err != nil || keys.Deployment != again.GetDeploymentId() || keys.Timeline != again.GetTimeline() || string(keys.Workspace) != again.GetWorkspaceId() {
		t.Errorf("key set %+v (%v) of %v", keys, err, again)
	}
	if !again.GetTime().IsValid() {
		t.Error("the answer does not tell the time")
	}
}

func TestAMethodThatTheProtocolLacksIsUnimplemented(t *testing.T) {
	p := newPlane(t)
	ctx := bearing(t.Context(), p.gatewayKey(p.team("ours")).APIKey)
	for sentence, method := range map[string]string{
		"of the sync service":  "/caracal.sync.v1.Sync/Renew",
		"of another service":   "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"of an older protocol": "/caracal.sync.v0.Sync/Enrol",
	} {
		t.Run(sentence, func(t *testing.T) {
			wantStatus(t, p.connect.Invoke(ctx, method, &syncpb.EnrolRequest{}, &syncpb.EnrolResponse{}), codes.Unimplemented, "unknown")
		})
	}
}
