package sync_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/serve"
	"github.com/caracal-gateway/caracal/controlplane/sync"
	"github.com/caracal-gateway/caracal/internal/pgtest"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/token"
)

var cluster = pgtest.Cluster{Prepare: postgres.Migrate}

const (
	setupKey = "setup-key-of-these-tests-only"
	patience = 10 * time.Second
)

// plane is a control plane on a database of its own, reached through its port.
type plane struct {
	*controlplane.Service
	t       *testing.T
	connect *grpc.ClientConn
	client  syncpb.SyncClient
	log     *lines
	stop    context.CancelFunc // tells the process to end
	url     string             // of its database, for the application
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	_, url := cluster.New(t)
	store, err := postgres.Open(postgres.Config{URL: url, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	p := &plane{t: t, log: &lines{}, url: url}
	log := slog.New(slog.NewTextHandler(p.log, nil))
	p.Service, err = controlplane.New(controlplane.Config{
		Store: store, MasterKey: []byte(strings.Repeat("m", 32)), SetupKey: setupKey, Log: log, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	served := make(chan error, 1)
	go func() {
		served <- serve.Run(ctx, serve.Config{Listener: listener, REST: http.NotFoundHandler(), GRPC: sync.New(ctx, p.Service, time.Now, log), Log: log})
	}()
	p.connect, err = grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	p.client = syncpb.NewSyncClient(p.connect)
	t.Cleanup(func() {
		_ = p.connect.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of the control plane:\n%s", p.log)
		}
	})
	return p
}

// team is a workspace with what the tests need of it.
type team struct {
	slug     string
	owner    controlplane.Caller
	ownerKey string
	agent    authority.Principal
	agentKey string
}

func (p *plane) team(slug string) team {
	p.t.Helper()
	made := must(p.CreateWorkspace(p.t.Context(), p.as(setupKey), controlplane.NewWorkspace{Name: slug, Slug: slug}))(p.t).Value
	m := team{slug: slug, owner: p.as(made.APIKey), ownerKey: made.APIKey}
	agent := must(p.RegisterPrincipal(p.t.Context(), m.owner, controlplane.NewPrincipal{Name: "agent", Type: authority.Agent}))(p.t).Value
	m.agent, m.agentKey = agent.Principal, agent.APIKey
	must(p.CreatePolicy(p.t.Context(), m.owner, controlplane.NewPolicy{
		PrincipalID: m.agent.ID, AllowedResources: []string{"api:external/*"}, AllowedActions: []string{"execute"}, MaxValiditySeconds: 3600,
	}))(p.t)
	return m
}

func (p *plane) as(bearer string) controlplane.Caller {
	p.t.Helper()
	return must(p.Authenticate(p.t.Context(), controlplane.Credential{Bearer: bearer}))(p.t)
}

func (p *plane) gatewayKey(m team) controlplane.CreatedKey {
	p.t.Helper()
	return must(p.CreateKey(p.t.Context(), m.owner, controlplane.NewKey{Kind: authority.KeyGateway, Name: "edge"}))(p.t).Value
}

func (p *plane) mandate(m team) authority.Mandate {
	p.t.Helper()
	return must(p.RequestMandate(p.t.Context(), m.owner, controlplane.MandateRequest{
		IssuerID: m.owner.Principal().ID, SubjectID: m.agent.ID, ResourceScope: []string{"api:external/openai"},
		ActionScope: []string{"execute"}, ValiditySeconds: 600,
	}))(p.t).Value
}

func (p *plane) gateway(m team, id string) controlplane.Gateway {
	p.t.Helper()
	for _, g := range must(p.Gateways(p.t.Context(), m.owner))(p.t) {
		if string(g.ID) == id {
			return g
		}
	}
	p.t.Fatalf("gateway %s is not listed", id)
	return controlplane.Gateway{}
}

// process is one gateway process, as far as the control plane can tell.
type process struct {
	*plane
	key     token.APIKey
	private ed25519.PrivateKey
	id      string
	trust   bundle.Trust // what it enforces
}

// process enrols one.
func (p *plane) process(m team, key string) *process {
	p.t.Helper()
	g := &process{plane: p, key: must(token.ParseAPIKey(key))(p.t)}
	g.trust.Root = g.key.Root
	var err error
	if _, g.private, err = ed25519.GenerateKey(nil); err != nil {
		p.t.Fatal(err)
	}
	g.id = must(p.client.Enrol(bearing(p.t.Context(), key), g.enrolment(m.slug)))(p.t).GetGatewayId()
	return g
}

func (g *process) enrolment(slug string) *syncpb.EnrolRequest {
	return &syncpb.EnrolRequest{
		Workspace: slug, PublicKey: g.private.Public().(ed25519.PublicKey), Proof: bundle.EnrolProof(g.private, g.key),
		Instance: "host", Version: "test", Formats: []uint32{bundle.Format},
	}
}

func bearing(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

// line is a stream that has been challenged.
type line struct {
	syncpb.Sync_StreamClient
	t      *testing.T
	of     *process
	nonce  []byte
	hangUp context.CancelFunc
}

func (g *process) dial(key string) *line {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(bearing(context.Background(), key), patience)
	g.t.Cleanup(cancel)
	l := &line{Sync_StreamClient: must(g.client.Stream(ctx))(g.t), t: g.t, of: g, hangUp: cancel}
	l.nonce = must(l.Recv())(g.t).GetChallenge().GetNonce()
	return l
}

func (l *line) tell(m *syncpb.GatewayMessage) {
	l.t.Helper()
	if err := l.Send(m); err != nil {
		l.t.Fatal(err)
	}
}

// hello says what the process enforces.
func (g *process) hello(l *line) *syncpb.GatewayMessage {
	return &syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Hello{Hello: &syncpb.Hello{
		GatewayId: g.id, Proof: bundle.StreamProof(g.private, l.nonce), Version: "test", Formats: []uint32{bundle.Format},
		Timeline: g.trust.Timeline, Revision: g.trust.Revision, Digest: g.trust.Digest,
	}}}
}

// join opens a stream with a good hello.
func (g *process) join() *line {
	g.t.Helper()
	l := g.dial(g.key.Reveal())
	l.tell(g.hello(l))
	return l
}

// next is the next message.
func (l *line) next() *syncpb.ControlMessage {
	l.t.Helper()
	return must(l.Recv())(l.t)
}

// whole insists that the pieces of a snapshot come next, and has the process enforce it.
func (l *line) whole() uint64 {
	l.t.Helper()
	var sealed bundle.Sealed
	for {
		m := l.next()
		piece := m.GetBundle()
		if piece == nil || piece.GetOffset() != uint64(len(sealed)) {
			l.t.Fatalf("got %v after %d bytes, want the next piece of a snapshot", m, len(sealed))
		}
		if sealed = append(sealed, piece.GetSealed()...); uint64(len(sealed)) < piece.GetSize() {
			continue
		}
		state, keys, err := bundle.Open(sealed, l.of.trust)
		if err != nil || state.Revision != piece.GetRevision() {
			l.t.Fatalf("the snapshot %d is of revision %d: %v", piece.GetRevision(), state.Revision, err)
		}
		l.of.trust = l.of.trust.Enforced(state, keys)
		return state.Revision
	}
}

// change insists that a change comes next, and has the process enforce it.
func (l *line) change() uint64 {
	l.t.Helper()
	m := l.next()
	if m.GetDelta() == nil {
		l.t.Fatalf("got %v, want a change", m)
	}
	delta, keys, err := bundle.OpenDelta(m.GetDelta().GetSealed(), l.of.trust)
	if err != nil || delta.From != m.GetDelta().GetFrom() || delta.Revision != m.GetDelta().GetRevision() {
		l.t.Fatalf("the change is from %d to %d: %v", delta.From, delta.Revision, err)
	}
	l.of.trust = l.of.trust.Advanced(delta, keys)
	return delta.Revision
}

// acknowledge says that the process enforces a revision.
func (l *line) acknowledge(revision uint64) {
	l.t.Helper()
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Acknowledged{Acknowledged: &syncpb.Acknowledged{Revision: revision, Digest: l.of.trust.Digest}}})
}

// current asks for the current revision. Whatever was told before on this stream has been taken when it is answered.
func (l *line) current(id uint64) uint64 {
	l.t.Helper()
	l.tell(&syncpb.GatewayMessage{Message: &syncpb.GatewayMessage_Sync{Sync: &syncpb.SyncRequest{Id: id}}})
	m := l.next()
	if m.GetCurrent().GetId() != id {
		l.t.Fatalf("got %v, want the answer to %d", m, id)
	}
	if !m.GetTime().IsValid() {
		l.t.Error("the answer does not tell the time")
	}
	return m.GetCurrent().GetRevision()
}

// wantEnd reads until the stream ends, and insists on how.
func (l *line) wantEnd(code codes.Code, message string) {
	l.t.Helper()
	for {
		if _, err := l.Recv(); err != nil {
			wantStatus(l.t, err, code, message)
			return
		}
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || !strings.Contains(s.Message(), message) {
		t.Errorf("ended with %s: %s; want %s: …%s…", s.Code(), s.Message(), code, message)
	}
}

// pack is how events and outcomes travel.
func pack(t *testing.T, value any) []byte {
	t.Helper()
	return compress(t, must(json.Marshal(value))(t))
}

func compress(t *testing.T, text []byte) []byte {
	t.Helper()
	encoder := must(zstd.NewWriter(nil))(t)
	defer encoder.Close()
	return encoder.EncodeAll(text, nil)
}

// sign completes a request to record.
func (g *process) sign(r *syncpb.RecordRequest) *syncpb.RecordRequest {
	r.GatewayId = g.id
	r.Proof = bundle.RecordProof(g.private, bundle.Batch{
		Gateway: authority.GatewayID(g.id), Epoch: r.GetEpoch(), First: r.GetFirst(), Last: r.GetLast(), Events: r.GetEvents(), Outcomes: r.GetOutcomes(),
	})
	return r
}

func (g *process) record(r *syncpb.RecordRequest) (*syncpb.RecordResponse, error) {
	return g.client.Record(bearing(g.t.Context(), g.key.Reveal()), g.sign(r))
}

// decisions are consecutive events of an epoch.
func decisions(epoch, first uint64, n int) []authority.Event {
	list := make([]authority.Event, n)
	for i := range list {
		list[i] = authority.Event{
			ID: authority.NewID[authority.EventID](), Type: authority.EventDenied, Time: time.Now(),
			DecisionID: authority.NewID[authority.DecisionID](), Reason: authority.ReasonMandateNotFound,
			Gateway: &authority.GatewayRecord{Epoch: epoch, Sequence: first + uint64(i)},
		}
	}
	return list
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	over := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-over:
			t.Fatalf("%s: not within %s", what, patience)
		case <-tick.C:
		}
	}
}

// lines is a log that tests read while it is written.
type lines struct {
	mu   gosync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
