package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// RevocationState says whether a revocation holds at every gateway.
type RevocationState string

// A revocation is committed in either state.
const (
	RevocationEnforced RevocationState = "enforced"
	RevocationPending  RevocationState = "pending"
)

// How long RevokeMandate waits for gateways: at most, and where the caller does not say.
const (
	MaxRevocationWait     = 60 * time.Second
	DefaultRevocationWait = 10 * time.Second
)

// enforcementPoll is how often a wait looks for acknowledgements that other replicas took.
const enforcementPoll = 250 * time.Millisecond

// Receipt tells what a revocation did. It is enforced once every gateway that may hold the mandate has acknowledged
// the revision; asking again for the same mandate answers the present state of the same revocation.
type Receipt struct {
	MandateID authority.MandateID   `json:"mandate_id"`
	State     RevocationState       `json:"state"`
	Revision  uint64                `json:"revision"`
	Mandates  []authority.MandateID `json:"mandates"` // that the revocation ended: the mandate and its descendants
	RevokedAt time.Time             `json:"revoked_at"`
	// EffectiveAt is when the last gateway was known to enforce it; nil while pending.
	EffectiveAt *time.Time       `json:"effective_at"`
	Gateways    []GatewayReceipt `json:"gateways"`
}

// GatewayReceipt is the part of one gateway in a revocation. EnforcedAt is when it was last known to, nil until then.
type GatewayReceipt struct {
	GatewayID  authority.GatewayID `json:"gateway_id"`
	EnforcedAt *time.Time          `json:"enforced_at"`
}

// RevokeMandate ends a mandate and all that was cut from it, and waits up to the given time for the gateways to enforce
// it. The revocation is committed whatever the receipt's state; only an error means that it may not be.
func (s *Service) RevokeMandate(ctx context.Context, c Caller, id authority.MandateID, wait time.Duration) (Written[Receipt], error) {
	if wait < 0 || wait > MaxRevocationWait {
		return Written[Receipt]{}, authority.Invalid("wait", "is 0 to %d seconds", int(MaxRevocationWait/time.Second))
	}
	op := allowed("revoke_mandate")
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (Receipt, error) {
		return revoke(ctx, tx, ch, id)
	})
	if err != nil {
		return written, err
	}
	written.Value, err = s.awaitEnforcement(ctx, c, written.Value, wait)
	return written, err
}

func revoke(ctx context.Context, tx *postgres.Tx, ch *change, id authority.MandateID) (Receipt, error) {
	before, err := tx.LockMandate(ctx, id)
	if err != nil {
		return Receipt{}, orNotFound("mandate", err)
	}
	chain, err := tx.Chain(ctx, id)
	if err != nil {
		return Receipt{}, err
	}
	if !ch.caller.knows(chain) {
		return Receipt{}, authority.NotFound("mandate")
	}
	if err := authority.MayRevoke(ch.caller.principal, chain); err != nil {
		return Receipt{}, err
	}
	r := Receipt{MandateID: id, State: RevocationPending, Revision: ch.revision, RevokedAt: ch.at, Gateways: []GatewayReceipt{}}
	if before != nil {
		ch.unchanged = true
		r.Revision, r.RevokedAt = *before, *chain[0].RevokedAt
		r.Mandates, err = tx.RevokedWith(ctx, id, *before)
		return r, err
	}
	ended, err := tx.Revoke(ctx, postgres.Revocation{MandateID: id, By: ch.caller.principal.ID, At: ch.at, Revision: ch.revision})
	if err != nil {
		return r, err
	}
	for _, m := range ended {
		r.Mandates = append(r.Mandates, m.ID)
		ch.tell(authority.Event{
			Type: authority.EventRevoked, PrincipalID: m.SubjectID, MandateID: m.ID,
			Detail: map[string]any{"revoked_with": id},
		})
	}
	return r, nil
}

// awaitEnforcement completes a receipt once every gateway has acknowledged its revision, or when the wait is over.
func (s *Service) awaitEnforcement(ctx context.Context, c Caller, r Receipt, wait time.Duration) (Receipt, error) {
	wake, cancel := s.acks.subscribe(c.workspace)
	defer cancel()
	over := time.NewTimer(wait)
	defer over.Stop()
	look := time.NewTicker(enforcementPoll)
	defer look.Stop()
	for last := false; ; {
		// The revocation is committed: a receipt that cannot be completed is pending, not an error.
		if err := s.completeReceipt(ctx, c, &r); err != nil {
			r.State = RevocationPending
			s.log.Warn("gateways' acknowledgements cannot be read", "revision", r.Revision, "cause", err)
		}
		if r.State == RevocationEnforced || last {
			return r, nil
		}
		select {
		case <-wake:
		case <-look.C:
		case <-over.C:
			last = true
		case <-ctx.Done():
			return r, nil
		}
	}
}

// completeReceipt reads how far the gateways are. A gateway counts until it leaves on purpose, another takes its place,
// or it has not been heard of for a day; one that is away has acknowledged nothing that came since.
func (s *Service) completeReceipt(ctx context.Context, c Caller, r *Receipt) error {
	return s.store.Read(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		gateways, err := tx.Gateways(ctx, s.now().Add(-gatewayMemory))
		if err != nil {
			return err
		}
		r.Gateways, r.State = []GatewayReceipt{}, RevocationEnforced
		if len(gateways) == postgres.MaxGateways && gateways[len(gateways)-1].LeftAt == nil {
			r.State = RevocationPending // nobody knows of those that the list has no room for
		}
		effective := r.RevokedAt
		for _, g := range gateways {
			if g.LeftAt != nil {
				continue
			}
			part := GatewayReceipt{GatewayID: g.ID}
			if g.Revision >= r.Revision && g.AcknowledgedAt != nil {
				part.EnforcedAt = g.AcknowledgedAt
				if g.AcknowledgedAt.After(effective) {
					effective = *g.AcknowledgedAt
				}
			} else {
				r.State = RevocationPending
			}
			r.Gateways = append(r.Gateways, part)
		}
		r.EffectiveAt = nil
		if r.State == RevocationEnforced {
			r.EffectiveAt = &effective
		}
		return nil
	})
}
