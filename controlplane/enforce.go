package controlplane

import (
	"context"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// enforcementPoll is how often a wait looks for what other replicas took note of.
	enforcementPoll = 250 * time.Millisecond
	// finishEvery is how often a replica looks for receipts that nobody waits for.
	finishEvery = time.Second
)

// settling remembers since when, on this replica's steady clock, receipts have waited for no gateway any more. The zero
// value is ready. What is forgotten, as when the replica restarts, begins anew: that only makes a receipt later.
type settling struct {
	mu   sync.Mutex // guards seen
	seen map[authority.WorkspaceID]map[authority.ReceiptID]lease.Progress
}

// see takes note of all settling receipts of a workspace as of an instant that is not before they were read. It answers
// those that have settled, and after how long the next has; 0 where there is none.
func (s *settling) see(w authority.WorkspaceID, all []postgres.SettlingReceipt, now time.Duration) (settled []authority.ReceiptID, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.seen[w]
	progress := make(map[authority.ReceiptID]lease.Progress, len(all))
	for _, r := range all {
		p := known[r.ID].See(r.Revision, nil, now)
		progress[r.ID] = p
		left := p.Since + r.Settling - now
		switch {
		case p.Effective(now, r.Settling):
			settled = append(settled, r.ID)
		case next == 0 || left < next:
			next = left
		}
	}
	if s.seen == nil {
		s.seen = map[authority.WorkspaceID]map[authority.ReceiptID]lease.Progress{}
	}
	s.seen[w] = progress
	if len(progress) == 0 {
		delete(s.seen, w)
	}
	return settled, next
}

// awaitReceipt waits until a receipt is not pending any more, or the wait is over, and answers it as it is then. The
// revocation is committed: where the receipt cannot be read it is pending, and no error.
func (s *Service) awaitReceipt(ctx context.Context, c Caller, r Receipt, wait time.Duration) Receipt {
	wake, cancel := s.acks.subscribe(c.workspace)
	defer cancel()
	over := time.NewTimer(wait)
	defer over.Stop()
	look := time.NewTimer(enforcementPoll)
	defer look.Stop()
	for last := false; ; {
		again, err := s.receipts.submit(ctx, c.workspace, struct{}{})
		if err == nil {
			r, err = s.refreshed(ctx, c, r, last)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the state of a revocation cannot be read", "receipt", r.ID, "revision", r.Revision, "cause", err)
		}
		if r.State != authority.ReceiptPending || last || ctx.Err() != nil {
			return r
		}
		if again == 0 || again > enforcementPoll {
			again = enforcementPoll
		}
		look.Reset(again)
		select {
		case <-wake:
		case <-look.C:
		case <-over.C:
			last = true
		case <-ctx.Done():
		}
	}
}

// refreshed is a receipt in its present state; one that is still pending is completed only for the last look, since a
// thousand gateways may acknowledge in between.
func (s *Service) refreshed(ctx context.Context, c Caller, r Receipt, last bool) (Receipt, error) {
	err := s.store.Read(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		now, err := tx.Receipt(ctx, r.ID)
		if err != nil || now.State == authority.ReceiptPending && !last {
			return err
		}
		gateways, err := tx.ReceiptGateways(ctx, r.ID)
		if err == nil {
			mandates := r.Mandates
			r = shown(now, mandates, gateways)
		}
		return err
	})
	return r, err
}

// finishReceipts brings forward the receipts that nobody waits for, whichever replica made them.
func (s *Service) finishReceipts(ctx context.Context) error {
	return every(ctx, finishEvery, func() {
		workspaces, err := s.store.LookUpPendingReceipts(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Debug("pending receipts not read; it is tried again", "cause", err)
			}
			return
		}
		for _, w := range workspaces {
			if _, err := s.receipts.submit(ctx, w, struct{}{}); err != nil && ctx.Err() == nil {
				s.log.Warn("receipts not brought forward; it is tried again", "workspace", w, "cause", err)
			}
		}
	})
}

// advance brings the pending receipts of a workspace forward, for all who ask at the same time. It answers after how long
// the next of them settles; 0 where none does.
func (s *Service) advance(ctx context.Context, w authority.WorkspaceID, asked []struct{}) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultRevocationWait)
	defer cancel()
	waiting, err := s.noteStandings(ctx, w)
	if err != nil {
		return nil, err
	}
	settled, next := s.settling.see(w, waiting, s.steady())
	for _, id := range settled {
		if err := s.finish(ctx, w, id); err != nil {
			return nil, err
		}
	}
	answers := make([]time.Duration, len(asked))
	for i := range answers {
		answers[i] = next
	}
	return answers, nil
}

// noteStandings writes into pending receipts which of the gateways they wait for enforce them or are fenced by now, and
// answers those that wait for none any more.
func (s *Service) noteStandings(ctx context.Context, w authority.WorkspaceID) ([]postgres.SettlingReceipt, error) {
	var (
		enforced []postgres.Enforcement
		fenced   []authority.GatewayID
		waiting  []postgres.SettlingReceipt
	)
	err := s.store.Read(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		awaited, err := tx.AwaitedGateways(ctx)
		if err != nil {
			return err
		}
		standings, err := tx.Standings(ctx)
		if err != nil {
			return err
		}
		deciding := make(map[authority.GatewayID]postgres.Standing, len(standings))
		for _, g := range standings {
			deciding[g.GatewayID] = g
		}
		for _, a := range awaited {
			if a.Revision >= a.Awaited {
				enforced = append(enforced, postgres.Enforcement{GatewayID: a.GatewayID, Revision: a.Revision})
			} else if !deciding[a.GatewayID].HoldsUp(a.Awaited) {
				fenced = append(fenced, a.GatewayID)
			}
		}
		waiting, err = tx.SettlingReceipts(ctx)
		return err
	})
	if err != nil || len(enforced)+len(fenced) == 0 {
		return waiting, err
	}
	err = s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		at := s.now()
		if err := tx.NoteEnforced(ctx, enforced, at); err != nil {
			return err
		}
		if err := tx.NoteFenced(ctx, fenced, at); err != nil {
			return err
		}
		waiting, err = tx.SettlingReceipts(ctx)
		return err
	})
	return waiting, err
}

// finish writes that a receipt is enforced, once, with its signature and the event that tells it.
func (s *Service) finish(ctx context.Context, w authority.WorkspaceID, id authority.ReceiptID) error {
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		revision, err := tx.LockWorkspace(ctx)
		if err != nil {
			return err
		}
		r, err := tx.Receipt(ctx, id)
		if err != nil || r.State != authority.ReceiptPending {
			return err
		}
		gateways, err := tx.ReceiptGateways(ctx, id)
		if err != nil {
			return err
		}
		effective := latest(s.now(), &r.RevokedAt, &r.CreatedAt)
		for _, g := range gateways {
			effective = latest(effective, g.EnforcedAt, g.FencedAt)
		}
		r.State, r.EffectiveAt = authority.ReceiptEnforced, &effective
		keys, err := s.openKeys(ctx, tx, w)
		if err != nil {
			return err
		}
		var kid string
		if r.Signature, kid, err = keys.signReceipt(r, gateways); err != nil {
			return err
		}
		done, err := tx.FinishReceipt(ctx, id, effective, r.Signature, kid)
		if err != nil || !done {
			return err
		}
		ch := &change{caller: Caller{workspace: w}, at: s.now(), revision: revision}
		ch.tell(enforcedEvent(r, gateways))
		return tx.AppendEvents(ctx, ch.events)
	})
	if err == nil {
		s.acks.wake(w)
	}
	return err
}
