package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// ErrProof says that a gateway process has not proven that it holds the key pair it enrolled.
var ErrProof = errors.New("proof of the gateway's key does not verify")

// Each proof begins with a name of its own, so that none passes for another.
const (
	enrolContext  = "caracal-enrol\x00"
	streamContext = "caracal-stream\x00"
	recordContext = "caracal-record\x00"

	certifyContext = "caracal-certify\x00"
)

func enrolInput(gatewayKey token.APIKey) []byte {
	hash := gatewayKey.Hash()
	return append([]byte(enrolContext), hash[:]...)
}

// EnrolProof shows that the process that enrols under a gateway key holds the private key of what it enrols.
func EnrolProof(process ed25519.PrivateKey, gatewayKey token.APIKey) []byte {
	return ed25519.Sign(process, enrolInput(gatewayKey))
}

// VerifyEnrolProof is ErrProof unless EnrolProof made the proof with the private half of process.
func VerifyEnrolProof(process ed25519.PublicKey, gatewayKey token.APIKey, proof []byte) error {
	return verifyProof(process, enrolInput(gatewayKey), proof)
}

func streamInput(nonce []byte) []byte { return append([]byte(streamContext), nonce...) }

// StreamProof answers the challenge that a stream begins with.
func StreamProof(process ed25519.PrivateKey, nonce []byte) []byte {
	return ed25519.Sign(process, streamInput(nonce))
}

// VerifyStreamProof is ErrProof unless StreamProof made the proof for this nonce.
func VerifyStreamProof(process ed25519.PublicKey, nonce, proof []byte) error {
	return verifyProof(process, streamInput(nonce), proof)
}

// Batch is a run of decision events of one gateway process, without gaps, as it is sent.
type Batch struct {
	Gateway     authority.GatewayID
	Epoch       uint64
	First, Last uint64
	Events      []byte // compressed
	Outcomes    []byte // compressed; may be empty
}

func (b Batch) input() []byte {
	hash := sha256.New()
	number := func(n uint64) { hash.Write(binary.BigEndian.AppendUint64(nil, n)) }
	number(uint64(len(b.Gateway)))
	hash.Write([]byte(b.Gateway))
	for _, n := range []uint64{b.Epoch, b.First, b.Last} {
		number(n)
	}
	for _, part := range [][]byte{b.Events, b.Outcomes} {
		digest := sha256.Sum256(part)
		hash.Write(digest[:])
	}
	return hash.Sum([]byte(recordContext))
}

// RecordProof vouches for a batch of decision events.
func RecordProof(process ed25519.PrivateKey, batch Batch) []byte {
	return ed25519.Sign(process, batch.input())
}

// VerifyRecordProof is ErrProof unless RecordProof made the proof for this batch.
func VerifyRecordProof(process ed25519.PublicKey, batch Batch, proof []byte) error {
	return verifyProof(process, batch.input(), proof)
}

func certifyInput(gateway authority.GatewayID, request []byte) []byte {
	hash := sha256.New()
	hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(gateway))))
	hash.Write([]byte(gateway))
	hash.Write(request)
	return hash.Sum([]byte(certifyContext))
}

// CertifyProof vouches for a gateway process's request for an inspection certificate.
func CertifyProof(process ed25519.PrivateKey, gateway authority.GatewayID, request []byte) []byte {
	return ed25519.Sign(process, certifyInput(gateway, request))
}

// VerifyCertifyProof is ErrProof unless CertifyProof made the proof for this request.
func VerifyCertifyProof(process ed25519.PublicKey, gateway authority.GatewayID, request, proof []byte) error {
	return verifyProof(process, certifyInput(gateway, request), proof)
}

func verifyProof(process ed25519.PublicKey, input, proof []byte) error {
	// The public key comes from the network; a wrong length would panic.
	if len(process) != ed25519.PublicKeySize || !ed25519.Verify(process, input, proof) {
		return ErrProof
	}
	return nil
}
