package gateway

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// outbox holds what is to be told to the control plane: of each kind only the newest, which overtakes those before it.
// So it never fills, and what the control plane waits for is never lost to a stream that does not keep up.
type outbox struct {
	ready chan struct{} // holds a token while something may wait

	mu           sync.Mutex
	acknowledged *syncpb.GatewayMessage
	refused      *syncpb.GatewayMessage
	envoy        *syncpb.GatewayMessage
	question     *syncpb.GatewayMessage
	renewal      *syncpb.GatewayMessage
	toldEnvoy    *syncpb.GatewayMessage // the newest of its kind, sent or not
	beyond       []*syncpb.BeyondReport // the parts of the answer to one question
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

// reset prepares for another stream. Its hello says which revision is enforced, so that what an earlier stream did not
// carry is asked for again where it matters; only what Envoy says is told again.
func (o *outbox) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acknowledged, o.refused, o.question, o.renewal, o.beyond, o.envoy = nil, nil, nil, nil, nil, o.toldEnvoy
	o.signal()
}

func (o *outbox) acknowledge(a *syncpb.Acknowledged) {
	o.put(&o.acknowledged, &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: a}})
}

func (o *outbox) refuse(r *syncpb.Refused) {
	o.put(&o.refused, &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Refused{Refused: r}})
}

func (o *outbox) ask(id uint64) {
	o.put(&o.question, &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Sync{Sync: &syncpb.SyncRequest{Id: id}}})
}

func (o *outbox) tellBeyond(parts []*syncpb.BeyondReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beyond = parts
	o.signal()
}

func (o *outbox) renew(r *syncpb.Renewal) {
	o.put(&o.renewal, &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Renewal{Renewal: r}})
}

// tellEnvoy tells Envoy's verdict unless it is the one that was told last.
func (o *outbox) tellEnvoy(s *syncpb.EnvoyStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if proto.Equal(o.toldEnvoy.GetEnvoy(), s) {
		return
	}
	o.toldEnvoy = &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Envoy{Envoy: s}}
	o.envoy = o.toldEnvoy
	o.signal()
}

func (o *outbox) put(slot **syncpb.GatewayMessage, m *syncpb.GatewayMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*slot = m
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// take gives what waits, the acknowledgement first, which a revocation waits for, then the renewal; or nil.
func (o *outbox) take() *syncpb.GatewayMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, slot := range []**syncpb.GatewayMessage{&o.acknowledged, &o.renewal, &o.refused, &o.envoy, &o.question} {
		if m := *slot; m != nil {
			*slot = nil
			return m
		}
	}
	if len(o.beyond) > 0 {
		part := o.beyond[0]
		o.beyond = o.beyond[1:]
		return &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Beyond{Beyond: part}}
	}
	return nil
}
