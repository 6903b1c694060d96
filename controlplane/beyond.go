package controlplane

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// maxReported bounds what of one gateway's report is listened to, in ids of each kind.
	maxReported = 200_000
	// clockTolerance is by how much the clocks of two replicas, and the whole seconds in which a state says when it was
	// sealed, may differ.
	clockTolerance = 5 * time.Second
)

// Claim is what a gateway process says that its decisions enforce. Issued is when that was sealed, the zero Time where it
// does not say.
type Claim struct {
	Position
	Issued time.Time
}

// Beyond is what a gateway process tells of a state that the database does not have.
type Beyond struct {
	Timeline  string
	Revision  uint64
	Evidence  bundle.Evidence
	Revoked   []string // mandates
	Suspended []string // principals
	AgentKeys []string // that are good in the state
	Whole     bool     // nothing had to be left out
}

// Add takes a part of the report, and reports false where that would be more than is listened to.
func (b *Beyond) Add(revoked, suspended, agentKeys []string) bool {
	b.Revoked, b.Suspended, b.AgentKeys = append(b.Revoked, revoked...), append(b.Suspended, suspended...), append(b.AgentKeys, agentKeys...)
	return len(b.Revoked) <= maxReported && len(b.Suspended) <= maxReported && len(b.AgentKeys) <= maxReported
}

// Doubt reports whether a gateway process has to be asked what it knows beyond the database before it is served, and the
// revision that the database is at. All are asked while the database is known to be restored, so that an operator sees
// who has answered.
func (s *Service) Doubt(ctx context.Context, c Caller, claim Claim) (ask bool, at uint64, err error) {
	if err := s.permit(ctx, c, allowed("snapshot")); err != nil {
		return false, 0, err
	}
	err = s.store.ReadRestored(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		at = tx.State().Revision
		if claim.Revision == 0 {
			return nil // it enforces nothing
		}
		var err error
		ask, err = doubted(ctx, tx, lease.Position{Timeline: claim.Timeline, Revision: claim.Revision}, claim.Issued)
		ask = ask || tx.Restored()
		return err
	})
	return ask, at, s.tell(ctx, err)
}

// doubted reports whether a state cannot be one that the database has had: it is of another timeline, beyond the present,
// or was sealed before the database came to its revision, whose number was then given twice.
func doubted(ctx context.Context, tx *postgres.Tx, claimed lease.Position, issued time.Time) (bool, error) {
	present := lease.Position{Timeline: tx.State().Timeline, Revision: tx.State().Revision}
	if lease.Compare(claimed, present) != lease.Behind {
		return true, nil
	}
	taken, err := tx.RevisionTaken(ctx, claimed.Revision)
	if errors.Is(err, postgres.ErrNotFound) || issued.IsZero() {
		return false, nil // it is too long ago for the database to tell
	}
	return err == nil && issued.Add(clockTolerance).Before(taken), err
}

// Report keeps what a gateway process tells of a state that the database does not have. A state that the workspace's own
// keys have signed shows that the database was restored from a backup: nobody is served any more then. What is not shown is
// kept for people to see, and only the process that says it is not served. nil says that the process can be served.
func (s *Service) Report(ctx context.Context, c Caller, id authority.GatewayID, b Beyond) error {
	if err := s.permit(ctx, c, allowed("snapshot")); err != nil {
		return err
	}
	var found finding
	known := false
	err := s.store.WriteRestored(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		known = tx.Restored()
		var err error
		if found, err = s.examine(ctx, tx, id, b); err != nil {
			return err
		}
		if !found.keeps() {
			return tx.AcceptBeyondReport(ctx, id, found.report.Timeline, s.now())
		}
		if !found.report.Proven {
			found.report.Timeline = "" // it may be any, and one thing is kept that a process says of each
		}
		return tx.KeepBeyondReport(ctx, found.report)
	})
	if err != nil {
		return s.tell(ctx, err)
	}
	// What was known before may have been accepted meanwhile, which is not to be undone.
	if found.restored && !known {
		if _, err := s.store.NoteRestore(ctx, s.now()); err != nil {
			return s.tell(ctx, err)
		}
	}
	return found.verdict()
}

// finding is what a report comes to.
type finding struct {
	report   postgres.BeyondReport
	restored bool // the database is behind this state, or is known to be behind some
	late     bool // the state is of a timeline that another has taken the place of
}

// keeps reports whether somebody has to see the report.
func (f finding) keeps() bool { return f.restored || !f.report.Proven || f.report.TakesAway() }

func (f finding) verdict() error {
	switch {
	case f.restored:
		return errRestored
	case !f.report.Proven:
		return authority.Forbidden("the gateway enforces a state that the database does not have, and does not show who made it: " +
			"empty its state directory if it is to begin anew")
	case f.report.TakesAway():
		return &authority.Error{Code: authority.CodeRestored, Message: "the gateway knows of revocations from before a restore " +
			"that are not accepted yet: run `caracal controlplane accept-restore` once more"}
	}
	return nil
}

// examine holds a report against the database.
func (s *Service) examine(ctx context.Context, tx *postgres.Tx, id authority.GatewayID, b Beyond) (finding, error) {
	keys, err := s.openKeys(ctx, tx, tx.State().Workspace)
	if err != nil {
		return finding{}, err
	}
	deployment, err := s.deploymentOf(ctx, tx)
	if err != nil {
		return finding{}, err
	}
	f := finding{report: postgres.BeyondReport{
		GatewayID: id, Timeline: clean(b.Timeline, maxInstance), Revision: min(max(b.Revision, 1), maxSequence),
		DatabaseRevision: tx.State().Revision, Whole: b.Whole, ReportedAt: s.now(),
	}}
	proven, err := b.Evidence.Open(bundle.Trust{Root: keys.root.Fingerprint(), Deployment: deployment.ID, Workspace: keys.set.Workspace})
	if err != nil || proven.Timeline != b.Timeline || proven.Revision != b.Revision {
		s.log.Warn("a gateway does not show who made what it enforces", "gateway", id, "workspace", keys.set.Workspace,
			"timeline", f.report.Timeline, "revision", f.report.Revision, "cause", err)
		return f, nil
	}
	f.report.Proven, f.report.IssuedAt = true, &proven.IssuedAt
	claimed := lease.Position{Timeline: proven.Timeline, Revision: proven.Revision}
	switch {
	case claimed.Timeline == deployment.Timeline:
		f.restored, err = doubted(ctx, tx, claimed, proven.IssuedAt)
	case slices.Contains(deployment.Past, claimed.Timeline):
		f.late = true
	case slices.Contains(proven.Keys.Succeeds, deployment.Timeline):
		f.restored = true // the present timeline is over, and this database has forgotten it
	default:
		f.report.Proven = false // nobody remembers the timeline
		return f, nil
	}
	f.restored = f.restored || tx.Restored()
	if err == nil {
		err = compareReport(ctx, tx, &f.report, b)
	}
	return f, err
}

// compareReport keeps of a report what the database still grants. A key that is no more among those that are good, and was
// made before the state was sealed, was revoked.
func compareReport(ctx context.Context, tx *postgres.Tx, r *postgres.BeyondReport, b Beyond) error {
	var err error
	if r.RevokedMandates, err = tx.LivingMandatesAmong(ctx, b.Revoked); err != nil {
		return err
	}
	if r.Suspended, err = tx.ActivePrincipalsAmong(ctx, b.Suspended); err != nil {
		return err
	}
	if !b.Whole {
		return nil
	}
	r.RevokedKeys, err = tx.LivingKeysBeside(ctx, b.AgentKeys, r.IssuedAt.Add(-clockTolerance))
	return err
}
