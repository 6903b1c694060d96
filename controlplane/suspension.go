package controlplane

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Suspension is a suspended principal, with the receipt of its suspension.
type Suspension struct {
	authority.Principal
	Receipt Receipt `json:"receipt"`
}

// SuspendPrincipal ends what a principal may do until it is resumed: every mandate that rests on it is denied, and its
// keys open nothing. It waits like RevokeMandate, and asking again answers the present state of the same suspension.
func (s *Service) SuspendPrincipal(ctx context.Context, c Caller, id authority.PrincipalID, wait time.Duration) (Written[Suspension], error) {
	if err := bearable(wait); err != nil {
		return Written[Suspension]{}, err
	}
	suspend := func() (Written[Suspension], error) {
		return write(ctx, s, c, allowed("suspend_principal"), func(ctx context.Context, tx *postgres.Tx, ch *change) (Suspension, error) {
			return s.suspend(ctx, tx, ch, id)
		})
	}
	written, err := suspend()
	if err == nil && written.Value.Receipt.ID == "" { // an answer that was kept before there were receipts
		c.once = once{}
		written, err = suspend()
	}
	if err != nil {
		return Written[Suspension]{}, err
	}
	written.Value.Receipt = s.awaitReceipt(ctx, c, written.Value.Receipt, wait)
	return written, nil
}

func (s *Service) suspend(ctx context.Context, tx *postgres.Tx, ch *change, id authority.PrincipalID) (Suspension, error) {
	before, err := ch.suspendable(ctx, tx, id)
	if err != nil {
		return Suspension{}, err
	}
	if before.Suspended {
		revision, err := tx.SuspensionRevision(ctx, id)
		if err != nil {
			return Suspension{}, err
		}
		if revision != nil {
			if found, err := ch.issuedBefore(ctx, tx, *revision); err != nil || found != nil {
				return Suspension{before, orNone(found)}, err
			}
		}
	} else if err := ch.maySuspend(before); err != nil {
		return Suspension{}, err
	}
	after := before
	after.Suspended = true
	r := ch.receipt(authority.ReceiptOfPrincipal, authority.ReceiptTarget{PrincipalID: id})
	e := changed(authority.EventPrincipalSuspended, before, after)
	e.PrincipalID, e.Detail["receipt_id"] = id, r.ID
	ch.tell(e)
	if err := s.keepingOwners(ctx, tx, ch.at, func() error { return tx.SetSuspended(ctx, id, true) }); err != nil {
		return Suspension{}, err
	}
	receipt, err := s.issueReceipt(ctx, tx, ch, r, nil)
	return Suspension{after, receipt}, err
}

// ResumePrincipal undoes a suspension. One that was still pending is withdrawn: it will never be said to have been in force.
func (s *Service) ResumePrincipal(ctx context.Context, c Caller, id authority.PrincipalID) (Written[authority.Principal], error) {
	return write(ctx, s, c, allowed("resume_principal"), func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Principal, error) {
		before, err := ch.suspendable(ctx, tx, id)
		if err != nil {
			return before, err
		}
		if !before.Suspended {
			ch.unchanged = true
			return before, nil
		}
		if err := ch.maySuspend(before); err != nil {
			return before, err
		}
		after := before
		after.Suspended = false
		e := changed(authority.EventPrincipalResumed, before, after)
		e.PrincipalID = id
		if err := ch.withdraw(ctx, tx, string(id), &e); err != nil {
			return before, err
		}
		ch.tell(e)
		return after, s.keepingOwners(ctx, tx, ch.at, func() error { return tx.SetSuspended(ctx, id, false) })
	})
}

// suspendable reads a principal that is to be suspended or resumed.
func (ch *change) suspendable(ctx context.Context, tx *postgres.Tx, id authority.PrincipalID) (authority.Principal, error) {
	p, err := tx.Principal(ctx, id)
	if err != nil {
		return p, orNotFound("principal", err)
	}
	return p, ch.expect(p)
}

// maySuspend reports as an error why the caller may not suspend or resume a principal: nobody does itself, owners are for
// owners, and admins for those who administer the workspace.
func (ch *change) maySuspend(p authority.Principal) error {
	if p.ID == ch.caller.principal.ID {
		return &authority.Error{Code: authority.CodeConflict, Message: "nobody suspends itself; another member can"}
	}
	if !(authority.Principal{Type: authority.User, Role: p.Role}).Administers() {
		return nil
	}
	return ch.caller.principal.Role.MayChange(p.Role)
}
