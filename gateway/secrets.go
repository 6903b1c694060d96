package gateway

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/caracal-gateway/caracal/inspection"
)

// secrets answers Envoy's questions for the certificates of names, one stream for each. The secrets that the configuration
// itself refers to are not asked for here but with the configuration.
//
// Each question is answered. A name that has no certificate is one that was removed: Envoy fails the handshakes that wait
// for it at once and forgets the name, so that the next handshake asks again.
type secrets struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	mint *mint
}

// DeltaSecrets serves one stream. What Envoy says to hold from an earlier stream does not matter: it gets what there is, and
// what it holds beside that is removed.
func (s secrets) DeltaSecrets(stream secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	a := &audience{stream: stream, names: map[string]bool{}}
	defer func() { s.mint.Leave(a, a.held()...) }()
	for {
		q, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case q.GetTypeUrl() != resource.SecretType:
			return status.Errorf(codes.InvalidArgument, "this stream is for secrets, not for %q", q.GetTypeUrl())
		}
		if refusal := q.GetErrorDetail(); refusal != nil {
			s.mint.log.Error("envoy refused a certificate", "names", a.held(), "message", refusal.GetMessage())
		}
		a.unsubscribe(q.GetResourceNamesUnsubscribe())
		s.mint.Leave(a, q.GetResourceNamesUnsubscribe()...)
		if asked := q.GetResourceNamesSubscribe(); len(asked) > 0 {
			if err := s.answer(a, asked); err != nil {
				return err
			}
		}
	}
}

func (s secrets) answer(a *audience, asked []string) error {
	answer := &discoveryv3.DeltaDiscoveryResponse{}
	for _, name := range asked {
		leaf, err := s.mint.Ask(name, a)
		if err != nil {
			answer.RemovedResources = append(answer.RemovedResources, name)
			continue
		}
		packed, err := secretOf(name, leaf)
		if err != nil {
			return err
		}
		answer.Resources = append(answer.Resources, packed)
	}
	return a.say(answer)
}

// secretOf is the certificate of a name as Envoy reads it.
func secretOf(name string, leaf inspection.Leaf) (*discoveryv3.Resource, error) {
	inline := func(data []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
	}
	packed, err := anypb.New(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(leaf.Chain), PrivateKey: inline(leaf.Key),
	}}})
	return &discoveryv3.Resource{Name: name, Version: leaf.Serial, Resource: packed}, err
}

// audience is a stream on which Envoy holds names.
type audience struct {
	mu     sync.Mutex // guards what follows, and sending
	stream secretv3.SecretDiscoveryService_DeltaSecretsServer
	names  map[string]bool
	nonce  uint64
}

// say sends an answer and notes what Envoy holds by it.
func (a *audience) say(answer *discoveryv3.DeltaDiscoveryResponse) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range answer.GetResources() {
		a.names[r.GetName()] = true
	}
	for _, name := range answer.GetRemovedResources() {
		delete(a.names, name)
	}
	a.nonce++
	answer.TypeUrl, answer.Nonce = resource.SecretType, strconv.FormatUint(a.nonce, 10)
	return a.stream.Send(answer)
}

func (a *audience) unsubscribe(names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range names {
		delete(a.names, name)
	}
}

func (a *audience) held() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.names))
}

// replace sends the next certificate of a name. A stream that does not take it is over, and its receiver notices.
func (a *audience) replace(name string, leaf inspection.Leaf) {
	if packed, err := secretOf(name, leaf); err == nil {
		_ = a.say(&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{packed}})
	}
}

// remove says that names have no certificate any more.
func (a *audience) remove(names ...string) {
	_ = a.say(&discoveryv3.DeltaDiscoveryResponse{RemovedResources: names})
}
