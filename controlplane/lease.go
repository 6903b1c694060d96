package controlplane

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

// Renewal asks for a lease. Revision is what the process's decisions enforce; Held the lowest number of a lease that it
// may decide by, now or after a restart, 0 for none.
type Renewal struct {
	Revision uint64
	Held     uint64
	Report   Report
}

// Report is what a gateway process says of itself, for people. No decision rests on it.
type Report struct {
	Address            string // of its gateway port
	DecisionsPerSecond float64
	LiveWatches        uint64
	QueuedEvents       uint64
	EnvoyCurrent       bool // Envoy has accepted the configuration of the enforced revision
}

// Granted answers a Renewal. Without a Number there is no lease: Message says why, and After which revision the process
// has to enforce first, 0 where that is not the cause.
type Granted struct {
	Number  uint64
	Term    time.Duration
	After   uint64
	Message string
	refusal error // of one that is to be granted nothing at all
}

// Acknowledgement says that a process's decisions enforce a revision and that all streams which the revision ends are
// cut.
type Acknowledgement struct {
	Revision   uint64
	Digest     []byte // of the enforced state; empty where it was not said
	StreamsCut uint64 // since the acknowledgement before
}

// application is a renewal of one process.
type application struct {
	gateway authority.GatewayID
	key     authority.KeyID
	Renewal
}

// acknowledged is an acknowledgement of one process.
type acknowledged struct {
	gateway authority.GatewayID
	key     authority.KeyID
	Acknowledgement
}

// Renew grants a process of the caller's gateway key its next lease, or says why it gets none. The grant is committed
// before it is answered, in a transaction that no change which takes authority away can come into.
func (s *Service) Renew(ctx context.Context, c Caller, id authority.GatewayID, r Renewal) (Granted, error) {
	if err := s.permit(ctx, c, allowed("renew_lease")); err != nil {
		return Granted{}, err
	}
	granted, err := s.renewals.submit(ctx, c.workspace, application{id, c.key, r.clean()})
	return granted, s.tell(ctx, firstOf(err, granted.refusal))
}

// clean makes a gateway's own words fit for the database and for people.
func (r Renewal) clean() Renewal {
	r.Report.Address = clean(r.Report.Address, maxInstance)
	r.Report.LiveWatches, r.Report.QueuedEvents = min(r.Report.LiveWatches, maxSequence), min(r.Report.QueuedEvents, maxSequence)
	if math.IsNaN(r.Report.DecisionsPerSecond) || r.Report.DecisionsPerSecond < 0 || math.IsInf(r.Report.DecisionsPerSecond, 0) {
		r.Report.DecisionsPerSecond = 0
	}
	return r
}

// grant answers the renewals that came in together, in one transaction.
func (s *Service) grant(ctx context.Context, w authority.WorkspaceID, all []application) ([]Granted, error) {
	var answers []Granted
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		at := s.now()
		held, err := tx.HoldRevision(ctx)
		if err != nil {
			return err
		}
		enforcing := make([]acknowledged, len(all))
		for i, a := range all {
			enforcing[i] = acknowledged{a.gateway, a.key, Acknowledgement{Revision: a.Revision}}
		}
		if _, err := s.acknowledge(ctx, tx, enforcing, at); err != nil {
			return err
		}
		if err := tx.Report(ctx, reports(all), at); err != nil {
			return err
		}
		applicants, err := tx.LockApplicants(ctx, gatewaysOf(all))
		if err != nil {
			return err
		}
		next := map[authority.GatewayID]lease.Standing{}
		answers = answerAll(all, applicants, held, at, next)
		return tx.Grant(ctx, next, at)
	})
	if err == nil {
		s.acks.wake(w)
	}
	return answers, err
}

// answerAll decides all renewals in their order, each as the one before it of the same process has left that, and adds to
// next how those stand that are granted a lease.
func answerAll(all []application, applicants []postgres.Applicant, held postgres.Held, at time.Time, next map[authority.GatewayID]lease.Standing) []Granted {
	known := make(map[authority.GatewayID]applicant, len(applicants))
	for _, a := range applicants {
		known[a.ID] = applicant{a}
	}
	answers := make([]Granted, len(all))
	for i, r := range all {
		a, there := known[r.gateway]
		if !there || a.KeyID != r.key {
			answers[i] = Granted{refusal: authority.NotFound("gateway")}
			continue
		}
		if answers[i] = a.answer(r.Renewal, held, at); answers[i].Number != 0 {
			known[r.gateway], next[r.gateway] = a, a.Standing
		}
	}
	return answers
}

// errBeyond ends the stream of a process: the database was put back since it began, or the process lies. It is asked what it
// knows as it connects anew.
var errBeyond = &authority.Error{Code: authority.CodeConflict, Message: "the gateway enforces a revision that the database does not have"}

// applicant is a process that asks for a lease.
type applicant struct{ postgres.Applicant }

// shortestLease is the least that a lease is worth: a gateway renews three times in a term.
const shortestLease = time.Second

// answer is the rule of grants, for a process and the state of its workspace that one transaction holds. What counts is
// what the process enforces as it asks: it may have come back with less than it acknowledged before. No lease outlasts the
// gateway key.
func (a *applicant) answer(r Renewal, held postgres.Held, at time.Time) Granted {
	term := held.Settings.LeaseTerm()
	if a.KeyEndsAt != nil {
		term = min(term, a.KeyEndsAt.Sub(at))
	}
	switch {
	case a.Revoked:
		return Granted{refusal: errRevokedGateway}
	case ended(a.KeyEndsAt, at):
		return Granted{refusal: errUnauthenticated}
	case a.Forgotten:
		return Granted{refusal: authority.NotFound("gateway")}
	case r.Revision > held.Revision:
		return Granted{refusal: errBeyond}
	case !lease.Grantable(r.Revision, held.Fence):
		return Granted{After: held.Fence, Message: "the gateway does not enforce the last change that took authority away"}
	case term < shortestLease:
		return Granted{Message: "the gateway key is about to end"}
	}
	a.Standing = a.Granted(r.Held, term)
	return Granted{Number: a.Lease, Term: a.Term}
}

func gatewaysOf(all []application) []authority.GatewayID {
	distinct := make(map[authority.GatewayID]struct{}, len(all))
	for _, a := range all {
		distinct[a.gateway] = struct{}{}
	}
	return slices.Collect(maps.Keys(distinct))
}

// reports are the last of each process.
func reports(all []application) []postgres.Report {
	last := map[authority.GatewayID]application{}
	for _, a := range all {
		last[a.gateway] = a
	}
	list := make([]postgres.Report, 0, len(last))
	for id, a := range last {
		list = append(list, postgres.Report{
			GatewayID: id, KeyID: a.key, Address: a.Report.Address, EnvoyCurrent: a.Report.EnvoyCurrent,
			DecisionsPerSecond: a.Report.DecisionsPerSecond, LiveWatches: a.Report.LiveWatches, QueuedEvents: a.Report.QueuedEvents,
		})
	}
	return list
}

// Acknowledge records that the process's decisions enforce a revision. One that the workspace does not have is an
// invalid_request; one that is older than the last is no news.
func (s *Service) Acknowledge(ctx context.Context, c Caller, id authority.GatewayID, a Acknowledgement) error {
	if err := s.permit(ctx, c, allowed("acknowledge")); err != nil {
		return err
	}
	refusal, err := s.acknowledgements.submit(ctx, c.workspace, acknowledged{id, c.key, a})
	return s.tell(ctx, firstOf(err, refusal))
}

// noteAcknowledged answers the acknowledgements that came in together, in one transaction. It waits for no change of the
// workspace: what is acknowledged has been committed.
func (s *Service) noteAcknowledged(ctx context.Context, w authority.WorkspaceID, all []acknowledged) ([]error, error) {
	var refusals []error
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		var err error
		refusals, err = s.acknowledge(ctx, tx, all, s.now())
		return err
	})
	if err == nil {
		s.acks.wake(w)
	}
	return refusals, err
}

// acknowledge records what processes enforce, and tells the receipts that wait for them. It answers for each why it was not
// recorded, nil where it was or is no news.
func (s *Service) acknowledge(ctx context.Context, tx *postgres.Tx, all []acknowledged, at time.Time) ([]error, error) {
	highest := map[authority.GatewayID]acknowledged{}
	for _, a := range all {
		known, some := highest[a.gateway]
		if a.Revision > maxSequence {
			continue
		}
		cut := min(known.StreamsCut+min(a.StreamsCut, maxSequence), maxSequence)
		if some && a.Revision < known.Revision {
			a = known
		}
		a.StreamsCut = cut
		highest[a.gateway] = a
	}
	ids := slices.Sorted(maps.Keys(highest))
	if err := tx.LockGateways(ctx, ids); err != nil {
		return nil, err
	}
	list := make([]postgres.Acknowledgement, len(ids))
	for i, id := range ids {
		a := highest[id]
		list[i] = postgres.Acknowledgement{GatewayID: id, KeyID: a.key, Revision: a.Revision, Digest: a.Digest}
	}
	recorded, err := tx.Acknowledge(ctx, list, at)
	if err != nil {
		return nil, err
	}
	enforced := make([]postgres.Enforcement, len(recorded))
	for i, id := range recorded {
		enforced[i] = postgres.Enforcement{GatewayID: id, Revision: highest[id].Revision, StreamsCut: highest[id].StreamsCut}
	}
	if err := tx.NoteEnforced(ctx, enforced, at); err != nil {
		return nil, err
	}
	refusals := make([]error, len(all))
	if len(recorded) == len(all) {
		return refusals, nil
	}
	w, err := tx.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	for i, a := range all {
		if a.Revision > w.Revision {
			refusals[i] = authority.Invalid("revision", "the workspace is at revision %d", w.Revision)
		}
	}
	return refusals, nil
}

// Surrender takes the word of a process that it has ended and decides nothing more under its lease of a number. A process
// that has been granted another one since is not over by that.
func (s *Service) Surrender(ctx context.Context, c Caller, id authority.GatewayID, number uint64) error {
	err := s.note(ctx, c, "surrender_lease", func(ctx context.Context, tx *postgres.Tx) error {
		if _, err := tx.HoldRevision(ctx); err != nil {
			return err
		}
		at := s.now()
		g, err := tx.LockGateway(ctx, id)
		if err == nil && g.KeyID != c.key {
			err = postgres.ErrNotFound
		}
		if err != nil {
			return err
		}
		if number == g.LeaseNumber && !g.Endless {
			if err := tx.LeaveGateway(ctx, c.key, id, at); err != nil {
				return err
			}
		}
		_, err = s.endLease(ctx, tx, id, number, at)
		return err
	})
	if err == nil {
		s.acks.wake(c.workspace)
	}
	return err
}

// endLease marks the very lease of a number as over, for receipts too. The transaction holds the revision, so that a
// revocation either sees it over or has its receipt told.
func (s *Service) endLease(ctx context.Context, tx *postgres.Tx, id authority.GatewayID, number uint64, at time.Time) (bool, error) {
	over, err := tx.EndLease(ctx, id, min(number, maxSequence), at)
	if err != nil || !over {
		return over, err
	}
	return true, tx.NoteFenced(ctx, []authority.GatewayID{id}, at)
}
