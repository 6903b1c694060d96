package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

func TestAProofHoldsForWhatItWasMadeForAndNothingElse(t *testing.T) {
	public, private := newProcess(t)
	stranger, _ := newProcess(t)
	gatewayKey, otherKey := newGatewayKey(t), newGatewayKey(t)
	nonce := bytes.Repeat([]byte{7}, 32)
	batch := bundle.Batch{Gateway: "gtw_a", Epoch: 1, First: 2, Last: 3, Events: []byte("events"), Outcomes: []byte("out")}
	enrol, stream, record := bundle.EnrolProof(private, gatewayKey), bundle.StreamProof(private, nonce), bundle.RecordProof(private, batch)

	changed := func(change func(*bundle.Batch)) bundle.Batch {
		b := batch
		change(&b)
		return b
	}
	hash := gatewayKey.Hash()
	for name, test := range map[string]struct {
		got  error
		want error
	}{
		"an enrolment's":                    {bundle.VerifyEnrolProof(public, gatewayKey, enrol), nil},
		"a stream's":                        {bundle.VerifyStreamProof(public, nonce, stream), nil},
		"a batch's":                         {bundle.VerifyRecordProof(public, batch, record), nil},
		"another process's key":             {bundle.VerifyEnrolProof(stranger, gatewayKey, enrol), bundle.ErrProof},
		"another gateway key":               {bundle.VerifyEnrolProof(public, otherKey, enrol), bundle.ErrProof},
		"another nonce":                     {bundle.VerifyStreamProof(public, append(nonce, 7), stream), bundle.ErrProof},
		"no proof":                          {bundle.VerifyStreamProof(public, nonce, nil), bundle.ErrProof},
		"no public key":                     {bundle.VerifyStreamProof(nil, nonce, stream), bundle.ErrProof},
		"half a public key":                 {bundle.VerifyStreamProof(public[:16], nonce, stream), bundle.ErrProof},
		"an enrolment's proof for a stream": {bundle.VerifyStreamProof(public, hash[:], enrol), bundle.ErrProof},
		"a stream's proof for an enrolment": {bundle.VerifyEnrolProof(public, gatewayKey, bundle.StreamProof(private, hash[:])), bundle.ErrProof},
		"a batch of another gateway":        {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Gateway = "gtw_b" }), record), bundle.ErrProof},
		"a batch of another epoch":          {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Epoch++ }), record), bundle.ErrProof},
		"a batch that begins elsewhere":     {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.First++ }), record), bundle.ErrProof},
		"a batch that ends elsewhere":       {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Last++ }), record), bundle.ErrProof},
		"a batch of other events":           {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Events = []byte("event") }), record), bundle.ErrProof},
		"a batch of other outcomes":         {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Outcomes = nil }), record), bundle.ErrProof},
		"a batch divided otherwise":         {bundle.VerifyRecordProof(public, changed(func(b *bundle.Batch) { b.Events, b.Outcomes = []byte("eventso"), []byte("ut") }), record), bundle.ErrProof},
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(test.got, test.want) {
				t.Errorf("got %v, want %v", test.got, test.want)
			}
		})
	}
}

func newProcess(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func newGatewayKey(t *testing.T) token.APIKey {
	t.Helper()
	key, err := token.NewAPIKey(authority.KeyGateway, token.NewRoot().Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return key
}
