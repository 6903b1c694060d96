package controlplane

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/discovery"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// issuerPoll is how often a replica looks for issuers whose keys are to be fetched.
	issuerPoll = 2 * time.Second
	// issuerRetry is when keys that could not be fetched are asked for again, and when another replica may take over from
	// one that has not been heard of.
	issuerRetry = time.Minute
	// issuerPause is the shortest time between two attempts that callers ask for.
	issuerPause = 10 * time.Second
	// issuerGrace is for how long keys are used beyond their freshness while they cannot be fetched.
	issuerGrace = 24 * time.Hour
	// fetchers bounds how many issuers are asked at once.
	fetchers   = 4
	maxFailure = 300 // bytes
)

// followIssuers fetches the keys of issuers when they are due. Of several replicas one does so for each issuer.
func (s *Service) followIssuers(ctx context.Context) error {
	return every(ctx, issuerPoll, func() {
		due, err := s.store.LookUpDueIssuers(ctx, s.now())
		if err != nil {
			s.log.Debug("due issuers not read", "cause", err)
			return
		}
		var g errgroup.Group
		g.SetLimit(fetchers)
		for _, d := range due {
			g.Go(func() error {
				now := s.now()
				_, err := s.fetchKeys(ctx, Caller{workspace: d.WorkspaceID}, d.IssuerID, postgres.Claim{At: now, Due: now, NotSince: now})
				if err != nil && ctx.Err() == nil {
					s.log.Warn("keys of an issuer not written; it is tried again", "issuer", d.IssuerID, "workspace", d.WorkspaceID, "cause", err)
				}
				return nil
			})
		}
		_ = g.Wait() // no function of the group returns an error
	})
}

// RefreshIssuer asks an issuer for its keys now and answers how they stand then. Keys that were asked for a moment ago,
// with or without success, are not asked for again.
func (s *Service) RefreshIssuer(ctx context.Context, c Caller, id authority.TrustedIssuerID) (Written[TrustedIssuer], error) {
	op := allowed("refresh_issuer")
	none := Written[TrustedIssuer]{}
	look := func(ctx context.Context, tx *postgres.Tx) (Written[TrustedIssuer], error) {
		i, keys, err := issuerOf(ctx, tx, id)
		return Written[TrustedIssuer]{Value: withKeys(i, keys)}, err
	}
	if _, err := read(ctx, s, c, op, look); err != nil {
		return none, err
	}
	now := s.now()
	revision, err := s.fetchKeys(ctx, c, id, postgres.Claim{At: now, Due: endOfTime(), NotSince: now.Add(-issuerPause)})
	if err != nil {
		return none, s.tell(ctx, err)
	}
	answer, err := read(ctx, s, c, op, look)
	answer.Revision = revision
	return answer, err
}

// fetchKeys asks an issuer for its keys, if the claim is granted, and writes what came of it. It answers the revision
// that holds other keys than before; 0 where they are the same.
func (s *Service) fetchKeys(ctx context.Context, c Caller, id authority.TrustedIssuerID, claim postgres.Claim) (uint64, error) {
	var (
		issuer  authority.TrustedIssuer
		before  postgres.IssuerKeys
		granted bool
	)
	claim.Again = claim.At.Add(issuerRetry)
	err := s.store.Write(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		var err error
		if granted, err = tx.ClaimIssuer(ctx, id, claim); err != nil || !granted {
			return err
		}
		issuer, before, err = issuerOf(ctx, tx, id)
		return err
	})
	if err != nil || !granted {
		return 0, err
	}
	issuer.PrivateAddresses = slices.DeleteFunc(issuer.PrivateAddresses, func(p netip.Prefix) bool { return !s.lendsOut(p) })
	found, failure := s.fetcher.Fetch(ctx, issuer)
	if ctx.Err() != nil {
		return 0, ctx.Err() // of the caller, not of the issuer
	}
	after := stateAfter(before, found, failure, s.now())
	if failure != nil {
		s.log.Warn("keys of an issuer not fetched", "issuer", id, "workspace", c.workspace, "usable_until", after.UsableUntil, "cause", failure)
	}
	if equalJSON(before.Keys, after.Keys) {
		return 0, s.store.Write(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
			return tx.NoteIssuerKeys(ctx, after)
		})
	}
	return s.changeKeys(ctx, c, issuer, before, after)
}

// stateAfter is how keys stand once an attempt at an instant brought some, or failed.
func stateAfter(before postgres.IssuerKeys, found discovery.Found, failure error, at time.Time) postgres.IssuerKeys {
	k := before
	if failure == nil {
		next, end := at.Add(found.FreshFor), at.Add(found.FreshFor+issuerGrace)
		k.Keys, k.FetchedAt, k.UsableUntil, k.NextAttemptAt, k.Failure = found.Keys, &at, &end, &next, ""
		return k
	}
	next := at.Add(issuerRetry)
	k.NextAttemptAt, k.Failure = &next, tellFailure(failure)
	if ended(k.UsableUntil, at) {
		k.Keys = nil
	}
	return k
}

// tellFailure is what the members of the workspace are told. What a name inside the deployment's network resolves to is
// not theirs to know, nor is what a server there answers.
func tellFailure(failure error) string {
	if errors.Is(failure, discovery.ErrAddress) {
		return discovery.ErrAddress.Error()
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, failure.Error())
	if len(text) > maxFailure {
		text = strings.ToValidUTF8(text[:maxFailure], "")
	}
	return text
}

// changeKeys writes other keys under a revision of their own, unless the issuer was changed or asked again meanwhile.
func (s *Service) changeKeys(ctx context.Context, c Caller, issuer authority.TrustedIssuer, before, after postgres.IssuerKeys) (uint64, error) {
	var revision uint64
	err := s.store.Write(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		at := s.now()
		var err error
		if revision, err = tx.AdvanceRevision(ctx, at, true); err != nil {
			return err
		}
		_, now, err := issuerOf(ctx, tx, issuer.ID)
		if err != nil {
			return err
		}
		if now.AttemptedAt == nil || before.AttemptedAt == nil || !now.AttemptedAt.Equal(*before.AttemptedAt) {
			return errGiveUp
		}
		if err := tx.PutIssuerKeys(ctx, after); err != nil {
			return err
		}
		e := changed(authority.EventIssuerKeysChanged, keyIDs(before.Keys), keyIDs(after.Keys))
		e.Detail["trusted_issuer_id"], e.Detail["failure"] = issuer.ID, after.Failure
		return tx.AppendEvents(ctx, []authority.Event{c.event(e, at, revision)})
	})
	var told *authority.Error
	if errors.Is(err, errGiveUp) || errors.As(err, &told) && told.Code == authority.CodeNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s.changes.wake(c.workspace)
	return revision, nil
}

func keyIDs(keys []token.IssuerKey) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	return ids
}
