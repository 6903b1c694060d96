package gateway

import (
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// maxTold is how many ids of a kind one part of a report holds.
const maxTold = 1000

// issued is when what is enforced was sealed; nil when there is nothing.
func (a *applier) issued() *timestamppb.Timestamp {
	snapshot := a.service.Snapshot()
	if snapshot == nil {
		return nil
	}
	return timestamppb.New(snapshot.IssuedAt().UTC().Truncate(time.Microsecond))
}

// beyond tells, part by part, what the enforced state knows to be taken away, for a control plane whose database does not
// have it. It goes on being enforced.
func (a *applier) beyond() ([]*syncpb.BeyondReport, error) {
	a.applying.Lock()
	snapshot, evidence := a.service.Snapshot(), a.evidence
	a.applying.Unlock()
	if snapshot == nil {
		return nil, errors.New("the control plane asks what is enforced beyond its database, and nothing is")
	}
	state := snapshot.State()
	t := telling{revision: state.Revision, timeline: state.Timeline}
	t.begin().Manifest, t.part().KeySet = evidence.Manifest, evidence.KeySet
	tellEach(&t, snapshot.Revoked(), func(id string) { t.part().RevokedMandates = append(t.part().RevokedMandates, id) })
	tellEach(&t, snapshot.Suspended(), func(id string) { t.part().SuspendedPrincipals = append(t.part().SuspendedPrincipals, id) })
	tellEach(&t, snapshot.AgentKeys(), func(id string) { t.part().AgentKeys = append(t.part().AgentKeys, id) })
	t.part().Last = true
	return t.parts, nil
}

// telling is a report that is being written.
type telling struct {
	revision uint64
	timeline string
	parts    []*syncpb.BeyondReport
	filled   int // of the last part
}

func (t *telling) begin() *syncpb.BeyondReport {
	t.parts, t.filled = append(t.parts, &syncpb.BeyondReport{Revision: t.revision, Timeline: t.timeline}), 0
	return t.part()
}

func (t *telling) part() *syncpb.BeyondReport { return t.parts[len(t.parts)-1] }

// tellEach puts ids into parts.
func tellEach[ID ~string](t *telling, ids iter.Seq[ID], put func(string)) {
	for id := range ids {
		if t.filled == maxTold {
			t.begin()
		}
		put(string(id))
		t.filled++
	}
}
