package sync

import (
	"bytes"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

const (
	// beyondTimeout bounds how long a gateway may take to tell what it knows.
	beyondTimeout = 30 * time.Second
	// maxBeyondParts bounds the messages in which it does, and those of another kind before them.
	maxBeyondParts = 1000
	// maxTold bounds what of the ids in them is kept, maxBesides what is said meanwhile, in bytes.
	maxTold    = 32 << 20
	maxBesides = 1 << 20
)

// settle has a gateway tell what it knows that enforces what the database cannot have had, or while the database is known
// to be restored, before anything is sent to it.
// An error ends the stream: the gateway is served once an operator has accepted that the database was restored. Otherwise the
// answer is what the gateway has said meanwhile of other things.
func (s *server) settle(stream syncpb.Sync_StreamServer, caller controlplane.Caller, gateway authority.GatewayID, hello *syncpb.Hello) ([]*syncpb.GatewayMessage, error) {
	says := claim(hello)
	ask := false
	at, err := inTurn(stream.Context(), s.opening, func() (at uint64, err error) {
		ask, at, err = s.service.Doubt(stream.Context(), caller, says)
		return at, err
	})
	if err != nil {
		return nil, s.answer("compare states", err)
	}
	if !ask {
		return nil, nil
	}
	s.log.Warn("the database is behind, or a gateway shows that it may be; the gateway is asked what it knows", "gateway", gateway,
		"workspace", caller.Slug(), "timeline", short(says.Timeline), "revision", says.Revision, "database_revision", at)
	question := &syncpb.ControlMessage{Time: timestamppb.New(s.now()), Message: &syncpb.ControlMessage_Beyond{Beyond: &syncpb.Beyond{Revision: at}}}
	if err := stream.Send(question); err != nil {
		return nil, err
	}
	told, besides, err := hear(stream)
	if err != nil {
		return nil, err
	}
	if err := s.service.Report(stream.Context(), caller, gateway, told); err != nil {
		return nil, s.answer("take report", err)
	}
	return besides, nil
}

func claim(hello *syncpb.Hello) controlplane.Claim {
	c := controlplane.Claim{Position: controlplane.Position{Timeline: hello.GetTimeline(), Revision: hello.GetRevision(), Digest: hello.GetDigest()}}
	if hello.GetIssued().IsValid() {
		c.Issued = hello.GetIssued().AsTime()
	}
	return c
}

// acknowledged reports whether a process enforces what it has acknowledged to this very database. One that was restored may
// give the same number to another state.
func acknowledged(g controlplane.Process, at controlplane.Position) bool {
	return g.AcknowledgedAt != nil && g.Revision == at.Revision && len(g.Digest) > 0 && bytes.Equal(g.Digest, at.Digest)
}

// counts reports whether what the gateway says of a revision is about the state that the database has under it: it was
// given that state on this stream, or is known to have had it before.
func (c *connection) counts(revision uint64, digest []byte) bool {
	if !c.vouched.Load() && c.feed.Gave(revision, digest) {
		c.vouched.Store(true)
	}
	return c.vouched.Load()
}

// enforced is the revision that a renewal counts for.
func (c *connection) enforced(r *syncpb.Renewal) uint64 {
	if !c.vouched.Load() && r.GetRevision() == c.position.Revision && c.feed.Continues(c.position) {
		c.vouched.Store(true)
	}
	if !c.vouched.Load() {
		return 0
	}
	return r.GetRevision()
}

// hear takes a gateway's report, part by part, and what it says besides.
func hear(stream syncpb.Sync_StreamServer) (told controlplane.Beyond, besides []*syncpb.GatewayMessage, err error) {
	type received struct {
		message *syncpb.GatewayMessage
		err     error
	}
	messages := make(chan received)
	go func() { // ends with the stream at the latest
		for {
			m, err := stream.Recv()
			select {
			case messages <- received{m, err}:
			case <-stream.Context().Done():
				return
			}
			if err != nil || m.GetBeyond().GetLast() {
				return
			}
		}
	}()
	over := time.NewTimer(beyondTimeout)
	defer over.Stop()
	told.Whole = true
	size, beside := 0, 0
	for range maxBeyondParts {
		select {
		case <-over.C:
			return told, nil, status.Error(codes.DeadlineExceeded, "no report of what is enforced beyond the database")
		case r := <-messages:
			if r.err != nil {
				return told, nil, r.err
			}
			part := r.message.GetBeyond()
			if part == nil {
				if beside += proto.Size(r.message); beside > maxBesides {
					return told, nil, errTooMuch
				}
				besides = append(besides, r.message)
				continue
			}
			size += proto.Size(part)
			told.Whole = told.Whole && size <= maxTold
			take(&told, part)
			if part.GetLast() {
				return told, besides, nil
			}
		}
	}
	return told, nil, errTooMuch
}

var errTooMuch = status.Error(codes.InvalidArgument, "the report of what is enforced beyond the database has too many parts, or too much else is said meanwhile")

func take(told *controlplane.Beyond, part *syncpb.BeyondReport) {
	if part.GetManifest() != "" {
		told.Timeline, told.Revision = part.GetTimeline(), part.GetRevision()
		told.Evidence = bundle.Evidence{Manifest: part.GetManifest(), KeySet: part.GetKeySet()}
	}
	if told.Whole {
		told.Whole = told.Add(part.GetRevokedMandates(), part.GetSuspendedPrincipals(), part.GetAgentKeys())
	}
}
