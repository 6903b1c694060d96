package controlplane

import (
	"context"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// errRestored is the answer to everything while the database is known to be behind.
var errRestored = &authority.Error{
	Code: authority.CodeRestored,
	Message: "the database was restored from a backup and lacks what gateways enforce: an operator has to accept that with " +
		"`caracal controlplane accept-restore`",
}

// errSucceeded ends the streams that began before this replica knew of another timeline.
var errSucceeded = &authority.Error{Code: authority.CodeUnavailable, Message: "another timeline has begun: connect again"}

// whileRestored reports whether an operation is open while the database is known to be restored: what a gateway needs to
// be asked what it knows.
func (op operation) whileRestored() bool {
	switch op.name {
	case "enrol_gateway", "find_gateway":
		return true
	}
	return false
}

// ReportedBeyond is what a gateway process tells of the state that it enforces, with how much of what the database grants
// it would take away.
type ReportedBeyond = postgres.ReportedBeyond

// Restoration says how far the database is relied on.
type Restoration struct {
	Timeline string
	Past     []string // the timelines before it, the last first
	// Since is when the database was found to be restored from a backup; nil once that is accepted. Nobody is served
	// until then.
	Since *time.Time
	// Reports are of all gateways that came since. While nothing is restored they are of gateways that were away when a
	// restore was accepted, and that are served no more before theirs is.
	Reports []ReportedBeyond
}

// Restoration reads how far the database is relied on.
func (s *Service) Restoration(ctx context.Context) (Restoration, error) {
	state, err := s.store.LookUpRestored(ctx)
	if err != nil {
		return Restoration{}, s.tell(ctx, err)
	}
	r := Restoration{Timeline: state.Timeline, Past: state.Past, Since: state.Since}
	r.Reports, err = s.store.LookUpBeyond(ctx)
	return r, s.tell(ctx, err)
}

// LastRestoration is what this replica read last, within a second while Run runs.
func (s *Service) LastRestoration() Restoration {
	if r := s.restoration.Load(); r != nil {
		return *r
	}
	return Restoration{}
}

// Relied reports as an error that the database is not relied on, as far as this replica has heard. No transaction of a
// workspace rests on this: each looks for itself.
func (s *Service) Relied() error {
	if s.LastRestoration().Since != nil {
		return errRestored
	}
	return nil
}

// notePutBack has nobody be served from a database that has never been what this replica has read from it: it was put back
// while the replica ran, and gateways are connected that were told of what it lacks. They are asked what they know as they
// connect anew.
func (s *Service) notePutBack(ctx context.Context, w authority.WorkspaceID, read Position) error {
	s.log.Error("the database does not have what this replica has read from it: it was put back", "workspace", w,
		"timeline", read.Timeline, "revision", read.Revision)
	if _, err := s.store.NoteRestore(ctx, s.now()); err != nil {
		return err
	}
	return postgres.ErrRestored
}

// watchRestoration looks whether another replica, or an operator, has found out or accepted that the database was restored.
func (s *Service) watchRestoration(ctx context.Context) error {
	return every(ctx, revisionPoll, func() {
		next, err := s.Restoration(ctx)
		if err != nil {
			return // every transaction tells that the database is away
		}
		before := s.restoration.Swap(&next)
		if before == nil {
			before = &Restoration{Timeline: next.Timeline}
		}
		s.tellRestoration(*before, next)
		if (before.Since != nil) != (next.Since != nil) || before.Timeline != next.Timeline {
			// Who is connected says anew what it enforces, and is asked what it knows.
			cause := errRestored
			if next.Since == nil {
				cause = errSucceeded
			}
			for w, ids := range s.connected.all() {
				for _, id := range ids {
					s.connected.end(connection{w, id}, cause)
				}
			}
			s.changes.wakeAll()
		}
	})
}

// tellRestoration logs what is new.
func (s *Service) tellRestoration(before, next Restoration) {
	if next.Since != nil && before.Since == nil {
		s.log.Error("the database was restored from a backup: nobody is served until an operator accepts that with "+
			"`caracal controlplane accept-restore`", "since", *next.Since, "timeline", next.Timeline)
	}
	if next.Timeline != before.Timeline {
		s.log.Warn("another timeline has begun", "timeline", next.Timeline, "before", before.Timeline)
	}
	for _, r := range next.Reports {
		if !slices.Contains(before.Reports, r) {
			s.log.Error("a gateway tells what it knows", "gateway", r.GatewayID, "workspace", r.WorkspaceID,
				"timeline", r.Timeline, "revision", r.Revision, "database_revision", r.DatabaseRevision, "proven", r.Proven,
				"revoked_mandates", r.RevokedMandates, "suspended_principals", r.Suspended, "revoked_keys", r.RevokedKeys)
		}
	}
}
