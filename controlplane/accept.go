package controlplane

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// ErrRelied says that there is nothing to accept: the database is not known to be behind, and no gateway says so.
var ErrRelied = errors.New("no gateway reports anything that the database does not have")

// Accepted is what came of accepting that the database was restored.
type Accepted struct {
	// Timeline is the one that has begun; empty where only what was reported late was applied.
	Timeline   string
	Workspaces []AcceptedWorkspace
}

// AcceptedWorkspace is one workspace's part.
type AcceptedWorkspace struct {
	Slug      string
	Revision  uint64
	Mandates  int // that were revoked again
	Suspended int // principals that were suspended again
	Keys      int // that were revoked again
}

// Distrust has the database be relied on no more, which it reports, unless it is not already: nobody is served, and
// gateways are asked what they know as they connect. It is for an operator who has restored a backup, before the control
// plane starts on it.
func (s *Service) Distrust(ctx context.Context) (bool, error) {
	noted, err := s.store.NoteRestore(ctx, s.now())
	return noted, s.tell(ctx, err)
}

// AcceptRestore accepts that the database was restored from a backup: what gateways report to be taken away is taken away
// again, and a timeline begins that the workspaces' root keys sign as the successor, to which gateways move on by
// themselves. Where the database is relied on already, it applies what gateways reported that were away then. It can be
// repeated after a failure.
//
// Since the backup, leases may have been granted that the database has never heard of. Revocations wait for as long as one
// of the longest term can last: what longest says, where an operator knows that no workspace had a longer term since the
// backup, and at least the longest that the database knows; 0 is for the longest that there can be.
func (s *Service) AcceptRestore(ctx context.Context, longest time.Duration) (Accepted, error) {
	if longest = cmp.Or(longest, lease.MaxTerm); longest < lease.MinTerm || longest > lease.MaxTerm {
		return Accepted{}, authority.Invalid("longest_lease", "is %s to %s", lease.MinTerm, lease.MaxTerm)
	}
	if err := s.checkMasterKey(ctx); err != nil {
		return Accepted{}, s.tell(ctx, err)
	}
	now, err := s.Restoration(ctx)
	if err != nil {
		return Accepted{}, err
	}
	if now.Since == nil && len(now.Reports) == 0 {
		return Accepted{}, ErrRelied
	}
	all, err := s.store.LookUpWorkspaces(ctx)
	if err != nil {
		return Accepted{}, s.tell(ctx, err)
	}
	a := acceptance{service: s, restored: now.Since != nil, at: s.now(), ended: now.Timeline, longest: longest}
	for _, w := range all {
		a.longest = max(a.longest, w.Settings.LeaseTerm())
	}
	if a.restored {
		a.successor = newTimeline()
	}
	accepted := Accepted{Timeline: a.successor}
	for _, w := range all {
		reported := slices.ContainsFunc(now.Reports, func(r ReportedBeyond) bool { return r.WorkspaceID == w.ID })
		if !a.restored && !reported {
			continue
		}
		part, err := a.workspace(ctx, w)
		if err != nil {
			return Accepted{}, s.tell(ctx, fmt.Errorf("accept restore in workspace %s: %w", w.Slug, err))
		}
		accepted.Workspaces = append(accepted.Workspaces, part)
	}
	if !a.restored {
		return accepted, nil
	}
	past := append([]string{a.ended}, now.Past...)
	for _, r := range now.Reports {
		// Of a timeline that the backup does not know: what it was at is moved on from as well.
		if r.Proven && !slices.Contains(past, r.Timeline) {
			past = append([]string{r.Timeline}, past...)
		}
	}
	begun, err := s.store.BeginTimeline(ctx, a.ended, a.successor, past[:min(len(past), token.MaxSucceeded)])
	if err == nil && !begun {
		err = &authority.Error{Code: authority.CodeConflict, Message: "somebody else has accepted the restore meanwhile"}
	}
	return accepted, s.tell(ctx, err)
}

// newTimeline names a timeline: a random UUID, as the first one has.
func newTimeline() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// acceptance is one run of AcceptRestore.
type acceptance struct {
	service          *Service
	restored         bool // the database is not relied on: a timeline is to begin
	at               time.Time
	ended, successor string
	longest          time.Duration // term of a lease that may have been granted since the backup
}

// workspace takes away in one workspace what its gateways report to be taken away.
func (a acceptance) workspace(ctx context.Context, w authority.Workspace) (AcceptedWorkspace, error) {
	var done AcceptedWorkspace
	err := a.service.store.WriteRestored(ctx, w.ID, func(ctx context.Context, tx *postgres.Tx) error {
		reports, err := tx.PendingBeyondReports(ctx)
		if err != nil {
			return err
		}
		proven := slices.DeleteFunc(reports, func(r postgres.BeyondReport) bool { return !r.Proven })
		var beyond uint64
		for _, r := range proven {
			beyond = max(beyond, r.Revision)
		}
		ch := &change{at: a.at, caller: Caller{workspace: w.ID}}
		if ch.revision, err = tx.RaiseRevision(ctx, beyond, a.at); err != nil {
			return err
		}
		if done, err = takeAway(ctx, tx, ch, proven); err != nil {
			return err
		}
		done.Slug, done.Revision = w.Slug, ch.revision
		if a.restored {
			// What was granted since the backup is not known, and neither is to whom.
			if err := tx.RestoreStandings(ctx, a.longest, a.at); err != nil {
				return err
			}
		}
		ch.tell(a.event(proven, done))
		if err := tx.AppendEvents(ctx, ch.events); err != nil {
			return err
		}
		return tx.AcceptBeyondReports(ctx, a.at)
	})
	return done, err
}

func (a acceptance) event(reports []postgres.BeyondReport, done AcceptedWorkspace) authority.Event {
	detail := map[string]any{
		"revoked_mandates": done.Mandates, "suspended_principals": done.Suspended, "revoked_keys": done.Keys,
	}
	if a.restored {
		detail["timeline"], detail["succeeds"] = a.successor, a.ended
	}
	var gateways []map[string]any
	for _, r := range reports {
		gateways = append(gateways, map[string]any{"gateway_id": r.GatewayID, "timeline": r.Timeline, "revision": r.Revision})
	}
	if gateways != nil {
		detail["reported_by"] = gateways
	}
	return authority.Event{Type: authority.EventRestoreAccepted, Detail: detail}
}

// takeAway applies what reports say to be taken away, and tells an event of each.
func takeAway(ctx context.Context, tx *postgres.Tx, ch *change, reports []postgres.BeyondReport) (AcceptedWorkspace, error) {
	var (
		done       AcceptedWorkspace
		mandates   []authority.MandateID
		principals []authority.PrincipalID
		keys       []authority.KeyID
	)
	for _, r := range reports {
		mandates, principals, keys = append(mandates, r.RevokedMandates...), append(principals, r.Suspended...), append(keys, r.RevokedKeys...)
	}
	why := map[string]any{"restored": true}
	ended, err := tx.RevokeForest(ctx, mandates, ch.revision, ch.at)
	if err != nil {
		return done, err
	}
	slices.SortFunc(ended, func(a, b postgres.RevokedMandate) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for _, m := range ended {
		ch.tell(authority.Event{Type: authority.EventRevoked, PrincipalID: m.SubjectID, MandateID: m.ID, Detail: why})
	}
	suspended, err := tx.SuspendAll(ctx, principals)
	if err != nil {
		return done, err
	}
	for _, id := range suspended {
		ch.tell(authority.Event{Type: authority.EventPrincipalSuspended, PrincipalID: id, Detail: why})
	}
	revoked, err := tx.RevokeKeys(ctx, keys, ch.at)
	if err != nil {
		return done, err
	}
	for id, holder := range revoked {
		ch.tell(authority.Event{Type: authority.EventKeyRevoked, PrincipalID: holder, Detail: map[string]any{"restored": true, "key_id": id}})
	}
	done.Mandates, done.Suspended, done.Keys = len(ended), len(suspended), len(revoked)
	return done, nil
}
