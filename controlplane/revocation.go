package controlplane

import (
	"context"
	"errors"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// How long a revocation waits for gateways: at most, and where the caller does not say.
const (
	MaxRevocationWait     = 120 * time.Second
	DefaultRevocationWait = 10 * time.Second
)

// RevokeMandate ends a mandate and all that was cut from it, and waits up to the given time until that is in force at
// every gateway. The revocation is committed whatever the receipt's state; only an error means that it may not be. Asking
// again answers the present state of the same receipt, and for a mandate that ended with an ancestor that of the
// ancestor's.
func (s *Service) RevokeMandate(ctx context.Context, c Caller, id authority.MandateID, wait time.Duration) (Written[Receipt], error) {
	written, err := s.revoking(ctx, c, "revoke_mandate", wait, func(ctx context.Context, tx *postgres.Tx, ch *change) (Receipt, error) {
		return s.revoke(ctx, tx, ch, id)
	})
	written.Value.MandateID = id
	return written, err
}

// revoking makes a change whose answer is a receipt, and waits for it.
func (s *Service) revoking(ctx context.Context, c Caller, name string, wait time.Duration, apply func(context.Context, *postgres.Tx, *change) (Receipt, error)) (Written[Receipt], error) {
	if err := bearable(wait); err != nil {
		return Written[Receipt]{}, err
	}
	written, err := write(ctx, s, c, allowed(name), apply)
	if err == nil && written.Value.ID == "" { // an answer that was kept before there were receipts
		c.once = once{}
		written, err = write(ctx, s, c, allowed(name), apply)
	}
	if err != nil {
		return Written[Receipt]{}, err
	}
	written.Value = s.awaitReceipt(ctx, c, written.Value, wait)
	return written, nil
}

func bearable(wait time.Duration) error {
	if wait < 0 || wait > MaxRevocationWait {
		return authority.Invalid("wait", "is 0 to %d seconds", int(MaxRevocationWait/time.Second))
	}
	return nil
}

func (s *Service) revoke(ctx context.Context, tx *postgres.Tx, ch *change, id authority.MandateID) (Receipt, error) {
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
	if before != nil {
		return s.revokedBefore(ctx, tx, ch, chain[0], *before)
	}
	r := ch.receipt(authority.ReceiptOfMandate, authority.ReceiptTarget{MandateID: id})
	ended, err := tx.Revoke(ctx, postgres.Revocation{MandateID: id, By: ch.caller.principal.ID, At: ch.at, Revision: ch.revision})
	if err != nil {
		return Receipt{}, err
	}
	ch.tellRevoked(r.ID, id, ended)
	return s.issueReceipt(ctx, tx, ch, r, ended)
}

// revokedBefore answers the receipt of the revocation that ended a mandate. One from before there were receipts gets its
// receipt when it is asked for.
func (s *Service) revokedBefore(ctx context.Context, tx *postgres.Tx, ch *change, m authority.Mandate, revision uint64) (Receipt, error) {
	if found, err := ch.issuedBefore(ctx, tx, revision); err != nil || found != nil {
		return orNone(found), err
	}
	r := ch.receipt(authority.ReceiptOfMandate, authority.ReceiptTarget{MandateID: m.ID})
	r.Revision, r.RevokedAt, r.RequestedBy = revision, *m.RevokedAt, m.RevokedBy
	ended, err := tx.ReceiptMandates(ctx, revision, "", postgres.Page{Size: maxLegacyMandates})
	if err != nil {
		return Receipt{}, err
	}
	all := make([]postgres.RevokedMandate, len(ended))
	for i, m := range ended {
		all[i] = postgres.RevokedMandate{ID: m.ID, Level: m.Level}
	}
	return s.issueReceipt(ctx, tx, ch, r, all)
}

// issuedBefore finds the receipt of a revision, and then leaves everything as it is; nil when there is none.
func (ch *change) issuedBefore(ctx context.Context, tx *postgres.Tx, revision uint64) (*Receipt, error) {
	id, err := tx.ReceiptOfRevision(ctx, revision)
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := tx.Receipt(ctx, id)
	if err != nil {
		return nil, err
	}
	ch.unchanged = true
	whole, err := present(ctx, tx, ch.caller, r)
	return &whole, err
}

func orNone(r *Receipt) Receipt {
	if r == nil {
		return Receipt{}
	}
	return *r
}

// maxLegacyMandates is how many mandates a receipt counts at most that is made after its revocation: as many as one could
// end before there were receipts.
const maxLegacyMandates = 1 << 20

// tellRevoked tells of each mandate that was ended. with is what the revocation was asked for; empty for a filter.
func (ch *change) tellRevoked(receipt authority.ReceiptID, with authority.MandateID, ended []postgres.RevokedMandate) {
	for _, m := range ended {
		detail := map[string]any{"receipt_id": receipt}
		if with != "" {
			detail["revoked_with"] = with
		}
		ch.tell(authority.Event{Type: authority.EventRevoked, PrincipalID: m.SubjectID, MandateID: m.ID, Detail: detail})
	}
}

// RevocationFilter names mandates that hold or will hold: those that every given field admits, and all that was cut from
// them. At least one is given.
type RevocationFilter struct {
	SubjectID authority.PrincipalID `json:"subject_id"`
	IssuerID  authority.PrincipalID `json:"issuer_id"`
	// UnderMandateID admits what was cut from a mandate, directly and further down, and not the mandate itself.
	UnderMandateID authority.MandateID `json:"under_mandate_id"`
}

// RevokeMandates ends all mandates that a filter names, at once, and waits like RevokeMandate. A filter that names none has
// a receipt, too: once it is enforced, whatever was revoked before is in force as well.
//
// Operators and those above them may revoke any mandate; an agent or a service those that it gave, those that it was
// given, and what is under a mandate that it may revoke.
func (s *Service) RevokeMandates(ctx context.Context, c Caller, f RevocationFilter, wait time.Duration) (Written[Receipt], error) {
	return s.revoking(ctx, c, "revoke_mandates", wait, func(ctx context.Context, tx *postgres.Tx, ch *change) (Receipt, error) {
		if err := ch.mayRevokeAll(ctx, tx, f); err != nil {
			return Receipt{}, err
		}
		r := ch.receipt(authority.ReceiptOfMandates, f.target())
		ended, err := tx.RevokeAll(ctx, postgres.MassRevocation{
			Subject: f.SubjectID, Issuer: f.IssuerID, Under: f.UnderMandateID,
			By: ch.caller.principal.ID, At: ch.at, Revision: ch.revision,
		})
		if err != nil {
			return Receipt{}, err
		}
		ch.tellRevoked(r.ID, "", ended)
		return s.issueReceipt(ctx, tx, ch, r, ended)
	})
}

func (f RevocationFilter) target() authority.ReceiptTarget {
	return authority.ReceiptTarget{SubjectID: f.SubjectID, IssuerID: f.IssuerID, UnderMandateID: f.UnderMandateID}
}

// mayRevokeAll reports as an error what is wrong with a filter, or why the caller may not revoke what it names.
func (ch *change) mayRevokeAll(ctx context.Context, tx *postgres.Tx, f RevocationFilter) error {
	if f == (RevocationFilter{}) {
		return authority.Invalid("subject_id", "one of subject_id, issuer_id and under_mandate_id says what is revoked")
	}
	for field, id := range map[string]authority.PrincipalID{"subject_id": f.SubjectID, "issuer_id": f.IssuerID} {
		if id == "" {
			continue
		}
		if _, err := authority.ParseID[authority.PrincipalID](string(id)); err != nil {
			return authority.Within(field, err)
		}
		if _, err := tx.Principal(ctx, id); err != nil {
			return orNotFound("principal", err)
		}
	}
	own := ch.caller.isMember()
	for _, id := range []authority.PrincipalID{f.SubjectID, f.IssuerID} {
		own = own || id == ch.caller.principal.ID
	}
	if f.UnderMandateID != "" {
		chain, err := tx.Chain(ctx, f.UnderMandateID)
		if err != nil {
			return err
		}
		if len(chain) == 0 || !ch.caller.knows(chain) {
			return authority.NotFound("mandate")
		}
		own = own || authority.MayRevoke(ch.caller.principal, chain) == nil
	}
	if !own {
		return authority.Forbidden("what is not its own is revoked by an operator or an admin of the workspace: name yourself as subject or issuer, or a mandate that you may revoke")
	}
	return nil
}

// receipt begins the receipt of a change.
func (ch *change) receipt(kind authority.ReceiptKind, target authority.ReceiptTarget) authority.Receipt {
	return authority.Receipt{
		ID: authority.NewID[authority.ReceiptID](), WorkspaceID: ch.caller.workspace, Kind: kind, Target: target,
		State: authority.ReceiptPending, Revision: ch.revision, RequestedBy: ch.caller.principal.ID, RevokedAt: ch.at, CreatedAt: ch.at,
		MandatesDigest: token.MandatesDigest(nil),
	}
}
