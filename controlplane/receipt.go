package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// Receipt tells what a revocation did, and where it is in force since when.
type Receipt struct {
	authority.Receipt
	// MandateID is the one mandate that was to be revoked; empty for every other kind.
	MandateID authority.MandateID `json:"mandate_id,omitempty"`
	// Mandates are the first of those that the revocation ended, from the top; ReceiptMandates lists all.
	Mandates []authority.MandateID `json:"mandates"`
	// Gateways are all that might have decided without knowing of the revocation when it was made.
	Gateways   []GatewayReceipt `json:"gateways"`
	StreamsCut uint64           `json:"streams_cut"`
}

// GatewayReceipt is the part of one gateway process in a revocation.
type GatewayReceipt = authority.GatewayReceipt

// shownMandates is how many mandates a receipt itself holds.
const shownMandates = MaxPage

// issueReceipt completes the receipt of a change and writes it. The change has advanced the revision, so that no gateway is
// granted a lease before it ends: the gateways that the receipt waits for are all there can be.
func (s *Service) issueReceipt(ctx context.Context, tx *postgres.Tx, ch *change, r authority.Receipt, ended []postgres.RevokedMandate) (Receipt, error) {
	keys, err := s.receiptKeys(ctx, tx, ch)
	if err != nil {
		return Receipt{}, err
	}
	ids := fromTheTop(ended)
	r.Timeline, r.MandateCount, r.MandatesDigest = keys.set.Timeline, int64(len(ids)), token.MandatesDigest(ids)
	gateways, err := awaited(ctx, tx, r.Revision)
	if err != nil {
		return Receipt{}, err
	}
	short, decided, err := tx.SettlingBounds(ctx)
	if err != nil {
		return Receipt{}, err
	}
	var signedBy string
	if decided {
		r.SettlingMS = lease.Settling(envoy.CheckTimeout, short).Milliseconds()
	} else { // no gateway of the workspace has ever let anything through
		r.State, r.EffectiveAt = authority.ReceiptEnforced, &ch.at
		if r.Signature, signedBy, err = keys.signReceipt(r, gateways); err != nil {
			return Receipt{}, err
		}
		ch.tell(enforcedEvent(r, gateways))
	}
	return shown(r, ids, gateways), tx.InsertReceipt(ctx, r, signedBy, gateways)
}

// fromTheTop are the ids of mandates in the order in which receipts list them.
func fromTheTop(ended []postgres.RevokedMandate) []authority.MandateID {
	slices.SortFunc(ended, func(a, b postgres.RevokedMandate) int {
		if a.Level != b.Level {
			return a.Level - b.Level
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	ids := make([]authority.MandateID, len(ended))
	for i, m := range ended {
		ids[i] = m.ID
	}
	return ids
}

// awaited are the gateways that a change at a revision has to wait for.
func awaited(ctx context.Context, tx *postgres.Tx, revision uint64) ([]GatewayReceipt, error) {
	standings, err := tx.Standings(ctx)
	if err != nil {
		return nil, err
	}
	gateways := []GatewayReceipt{}
	for _, g := range standings {
		if !g.HoldsUp(revision) {
			continue
		}
		part := GatewayReceipt{GatewayID: g.GatewayID, Instance: g.Instance, Lease: g.Lease}
		if !g.Endless && g.GrantedAt != nil {
			until := g.GrantedAt.Add(g.Wait + lease.Margin(g.Wait))
			part.FencedUntil = &until
		}
		gateways = append(gateways, part)
	}
	return gateways, nil
}

func shown(r authority.Receipt, mandates []authority.MandateID, gateways []GatewayReceipt) Receipt {
	whole := Receipt{Receipt: r, MandateID: r.Target.MandateID, Mandates: mandates[:min(len(mandates), shownMandates)], Gateways: gateways}
	for _, g := range gateways {
		whole.StreamsCut += g.StreamsCut
	}
	return whole
}

// receiptKeys are the workspace's keys, of which one signs receipts: a workspace from before there were receipts gets it
// with its first.
func (s *Service) receiptKeys(ctx context.Context, tx *postgres.Tx, ch *change) (workspaceKeys, error) {
	keys, err := s.openKeys(ctx, tx, ch.caller.workspace)
	if err != nil {
		return keys, err
	}
	if _, err := keys.signer(token.PurposeReceipt, ch.at); err == nil {
		return keys, nil
	}
	all, err := tx.SigningKeys(ctx)
	if err != nil {
		return keys, err
	}
	if err := tx.InsertSigningKey(ctx, s.newKey(token.PurposeReceipt, ch.at, ch.at.Add(-signingMargin))); err != nil {
		return keys, err
	}
	if _, err := tellRotation(ctx, tx, ch, tellKeys(all, ch.at)); err != nil {
		return keys, err
	}
	return s.openKeys(ctx, tx, ch.caller.workspace)
}

// signReceipt signs an enforced receipt, and names the key.
func (k workspaceKeys) signReceipt(r authority.Receipt, gateways []GatewayReceipt) (signature, kid string, err error) {
	key, err := k.signer(token.PurposeReceipt, *r.EffectiveAt)
	if err != nil {
		return "", "", err
	}
	signature, err = token.SignReceipt(key, k.set.Deployment, r, gateways)
	return signature, key.ID, err
}

// present completes a receipt as the caller may see it. Who acts for itself alone sees of the mandates that somebody else
// revoked those which it gave or was given.
func present(ctx context.Context, tx *postgres.Tx, c Caller, r authority.Receipt) (Receipt, error) {
	gateways, err := tx.ReceiptGateways(ctx, r.ID)
	if err != nil {
		return Receipt{}, err
	}
	ended, err := tx.ReceiptMandates(ctx, r.Revision, c.partyOf(r), postgres.Page{Size: shownMandates})
	if err != nil {
		return Receipt{}, err
	}
	ids := make([]authority.MandateID, len(ended))
	for i, m := range ended {
		ids[i] = m.ID
	}
	return shown(r, ids, gateways), nil
}

// partyOf is whose mandates of a receipt the caller may see; empty for all.
func (c Caller) partyOf(r authority.Receipt) authority.PrincipalID {
	if r.RequestedBy == c.principal.ID {
		return ""
	}
	return c.ownEvents()
}

// Receipt finds a receipt in its present state.
func (s *Service) Receipt(ctx context.Context, c Caller, id authority.ReceiptID) (Receipt, error) {
	return read(ctx, s, c, allowed("get_receipt"), func(ctx context.Context, tx *postgres.Tx) (Receipt, error) {
		r, err := tx.ReceiptFor(ctx, id, c.ownEvents())
		if err != nil {
			return Receipt{}, orNotFound("receipt", err)
		}
		return present(ctx, tx, c, r)
	})
}

// AwaitReceipt finds a receipt once it is not pending any more, or as it is when the wait is over.
func (s *Service) AwaitReceipt(ctx context.Context, c Caller, id authority.ReceiptID, wait time.Duration) (Receipt, error) {
	if err := bearable(wait); err != nil {
		return Receipt{}, err
	}
	r, err := s.Receipt(ctx, c, id)
	if err != nil || wait == 0 || r.State != authority.ReceiptPending {
		return r, err
	}
	return s.awaitReceipt(ctx, c, r, wait), nil
}

// ReceiptFilter narrows a list of receipts; a zero field does not.
type ReceiptFilter struct {
	State       authority.ReceiptState
	Kind        authority.ReceiptKind
	RequestedBy authority.PrincipalID
	Created     Created
}

// Receipts lists receipts without their mandates and gateways, the newest first.
func (s *Service) Receipts(ctx context.Context, c Caller, f ReceiptFilter, p Page) (List[authority.Receipt], error) {
	return listing[authority.Receipt]{
		op: allowed("list_receipts"), filter: f, keys: byCreation(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Receipt, error) {
			return tx.Receipts(ctx, postgres.ReceiptFilter{
				State: f.State, Kind: f.Kind, RequestedBy: f.RequestedBy, Party: c.ownEvents(), Created: f.Created,
			}, page)
		},
		end: func(r authority.Receipt, _ postgres.Key) place { return at(r.CreatedAt, 0, string(r.ID)) },
	}.read(ctx, s, c, p)
}

// EndedMandate is one mandate that a revocation ended.
type EndedMandate struct {
	MandateID authority.MandateID `json:"mandate_id"`
}

// ReceiptMandates lists the mandates that a receipt's revocation ended, from the top.
func (s *Service) ReceiptMandates(ctx context.Context, c Caller, id authority.ReceiptID, p Page) (List[EndedMandate], error) {
	if p.Sort != "" {
		return List[EndedMandate]{}, authority.Invalid("sort", "this list has one order")
	}
	ended, err := listing[postgres.EndedMandate]{
		op: allowed("list_receipt_mandates"), filter: id, keys: byCreation(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]postgres.EndedMandate, error) {
			r, err := tx.ReceiptFor(ctx, id, c.ownEvents())
			if err != nil {
				return nil, orNotFound("receipt", err)
			}
			return tx.ReceiptMandates(ctx, r.Revision, c.partyOf(r), page)
		},
		end: func(m postgres.EndedMandate, _ postgres.Key) place {
			return place{Sequence: int64(m.Level), ID: string(m.ID)}
		},
	}.read(ctx, s, c, p)
	all := List[EndedMandate]{NextCursor: ended.NextCursor}
	for _, m := range ended.Items {
		all.Items = append(all.Items, EndedMandate{m.ID})
	}
	return all, err
}

// KeySet is a workspace's key set as its root signed it, for whoever verifies offline what the workspace signed.
type KeySet struct {
	// Sealed is a JWS by the root, whose fingerprint is in every gateway key too.
	Sealed string            `json:"key_set"`
	Root   token.Fingerprint `json:"root"`
}

// KeySet reads the workspace's key set.
func (s *Service) KeySet(ctx context.Context, c Caller) (KeySet, error) {
	return read(ctx, s, c, allowed("get_key_set"), func(ctx context.Context, tx *postgres.Tx) (KeySet, error) {
		keys, err := s.openKeys(ctx, tx, c.workspace)
		if err != nil {
			return KeySet{}, err
		}
		sealed, err := token.SealKeySet(keys.root, keys.set)
		return KeySet{sealed, keys.root.Fingerprint()}, err
	})
}

// enforcedEvent tells that a revocation is in force everywhere.
func enforcedEvent(r authority.Receipt, gateways []GatewayReceipt) authority.Event {
	var cut uint64
	fenced := 0
	for _, g := range gateways {
		cut += g.StreamsCut
		if g.FencedAt != nil {
			fenced++
		}
	}
	return authority.Event{
		Type: authority.EventRevocationEnforced, PrincipalID: r.Target.PrincipalID, MandateID: r.Target.MandateID,
		Message: fmt.Sprintf("revision %d is in force at every gateway", r.Revision),
		Detail: map[string]any{
			"receipt_id": r.ID, "kind": r.Kind, "revision": r.Revision, "effective_at": r.EffectiveAt,
			"gateways": len(gateways), "gateways_fenced": fenced, "streams_cut": cut,
		},
	}
}

// withdraw withdraws the pending receipts of something that is undone.
func (ch *change) withdraw(ctx context.Context, tx *postgres.Tx, target string, e *authority.Event) error {
	ids, err := tx.WithdrawReceipts(ctx, target, ch.at)
	if len(ids) > 0 {
		e.Detail["receipts_withdrawn"] = ids
	}
	return err
}

// latest is the last of some instants; those that are not there do not count.
func latest(at time.Time, others ...*time.Time) time.Time {
	for _, other := range others {
		if other != nil && other.After(at) {
			at = *other
		}
	}
	return at
}
