package controlplane

import (
	"context"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/lease"
)

const (
	// gatewayMemory is for how long a gateway that decides no more is listed after it was last heard of.
	gatewayMemory = 24 * time.Hour
	// heartbeat is how often a replica notes which gateways are connected to it; beyond staleAfter nobody has.
	heartbeat  = 15 * time.Second
	staleAfter = 3 * heartbeat
)

// GatewayState says in one word how a gateway process is.
type GatewayState string

// The states of gateways.
const (
	// GatewayInSync decides and enforces the newest revision.
	GatewayInSync GatewayState = "in_sync"
	// GatewayBehind decides, and has not acknowledged the newest revision.
	GatewayBehind GatewayState = "behind"
	// GatewayFenced has no lease: it denies everything.
	GatewayFenced GatewayState = "fenced"
	// GatewayGone ended on purpose, was declared dead, or was replaced or silent for a day after its lease.
	GatewayGone GatewayState = "gone"
	// GatewayRevoked is granted nothing more; it decides until the lease that it has is over.
	GatewayRevoked GatewayState = "revoked"
)

// Gateway is one enrolled process of a gateway.
type Gateway struct {
	ID          authority.GatewayID   `json:"gateway_id"`
	WorkspaceID authority.WorkspaceID `json:"workspace_id"`
	KeyID       authority.KeyID       `json:"key_id"`
	Instance    string                `json:"instance"`
	Version     string                `json:"version"`
	Address     string                `json:"address"` // of its gateway port, as it says
	State       GatewayState          `json:"state"`
	// Revision is the highest that its decisions are known to enforce.
	Revision       uint64     `json:"acknowledged_revision"`
	AcknowledgedAt *time.Time `json:"acknowledged_at"`
	// LagSeconds is the age of the newest revision of the workspace where the gateway does not enforce it yet, else 0.
	LagSeconds int64 `json:"lag_seconds"`
	// Lease is nil until the first grant.
	Lease      *GatewayLease `json:"lease"`
	Connected  bool          `json:"connected"`
	EnrolledAt time.Time     `json:"enrolled_at"`
	SeenAt     time.Time     `json:"seen_at"`
	// LeftAt is when it ended on purpose, SupersededAt when another took its place.
	LeftAt       *time.Time `json:"left_at"`
	SupersededAt *time.Time `json:"superseded_at"`
	RevokedAt    *time.Time `json:"revoked_at"`
	ForgottenAt  *time.Time `json:"forgotten_at"`
	// EnvoyRevision is the one whose configuration its Envoy accepted last, EnvoyCurrent whether that is the enforced
	// one's. EnvoyRefusal is what it last said against a configuration; empty when it accepted it.
	EnvoyRevision uint64 `json:"envoy_revision"`
	EnvoyCurrent  bool   `json:"envoy_current"`
	EnvoyRefusal  string `json:"envoy_refusal,omitempty"`
	// What it last reported of itself, at ReportedAt.
	DecisionsPerSecond float64    `json:"decisions_per_second"`
	LiveWatches        uint64     `json:"live_watches"`
	QueuedEvents       uint64     `json:"queued_events"`
	ReportedAt         *time.Time `json:"reported_at"`
}

// GatewayLease is the lease that was granted last.
type GatewayLease struct {
	Number      uint64    `json:"number"`
	TermSeconds int64     `json:"term_seconds"`
	GrantedAt   time.Time `json:"granted_at"`
	// EndsAt is when it ends at the latest, as far as clocks agree: nothing is concluded from it. OverAt is when it was
	// known to be over; nil while it runs.
	EndsAt time.Time  `json:"ends_at"`
	OverAt *time.Time `json:"over_at"`
}

// look is the state that gateways are held against, at an instant.
type look struct {
	revision  uint64
	revisedAt time.Time
	at        time.Time
}

func (s *Service) look(ctx context.Context, tx *postgres.Tx) (look, error) {
	w, err := tx.Workspace(ctx)
	if err != nil {
		return look{}, err
	}
	revisedAt, err := tx.RevisedAt(ctx)
	return look{w.Revision, revisedAt, s.now()}, err
}

// show is a gateway as people see it.
func (l look) show(g postgres.Gateway) Gateway {
	shown := Gateway{
		ID: g.ID, WorkspaceID: g.WorkspaceID, KeyID: g.KeyID, Instance: g.Instance, Version: g.Version, Address: g.Address,
		Revision: g.Revision, AcknowledgedAt: g.AcknowledgedAt,
		Connected: g.Connected && g.SeenAt.After(l.at.Add(-staleAfter)), EnrolledAt: g.EnrolledAt, SeenAt: g.SeenAt,
		LeftAt: g.LeftAt, SupersededAt: g.SupersededAt, RevokedAt: g.RevokedAt, ForgottenAt: g.ForgottenAt,
		EnvoyRevision: g.EnvoyRevision, EnvoyCurrent: g.EnvoyCurrent, EnvoyRefusal: g.EnvoyRefusal,
		DecisionsPerSecond: g.DecisionsPerSecond, LiveWatches: g.LiveWatches, QueuedEvents: g.QueuedEvents, ReportedAt: g.ReportedAt,
	}
	if g.LeaseNumber > 0 && g.LeaseGrantedAt != nil {
		term := time.Duration(g.LeaseTermMs) * time.Millisecond
		shown.Lease = &GatewayLease{
			Number: g.LeaseNumber, TermSeconds: int64(term / time.Second), GrantedAt: *g.LeaseGrantedAt,
			EndsAt: g.LeaseGrantedAt.Add(term), OverAt: g.LeaseOverAt,
		}
	}
	if g.Revision < l.revision {
		shown.LagSeconds = max(0, int64(l.at.Sub(l.revisedAt)/time.Second))
	}
	shown.State = l.state(g, shown.Connected)
	return shown
}

func (l look) state(g postgres.Gateway, connected bool) GatewayState {
	standing := lease.Standing{Lease: g.LeaseNumber, Over: g.LeaseOver, Endless: g.Endless}
	if g.Endless {
		standing.Over = g.LeftAt != nil
	}
	decides := standing.HoldsUp(1) // of a revision that it does not enforce
	silent := !connected && g.SeenAt.Before(l.at.Add(-gatewayMemory))
	switch {
	case g.ForgottenAt != nil, g.LeftAt != nil && !decides:
		return GatewayGone
	case g.RevokedAt != nil:
		return GatewayRevoked
	case !decides && (silent || g.SupersededAt != nil):
		return GatewayGone
	case !decides:
		return GatewayFenced
	case g.Revision < l.revision:
		return GatewayBehind
	}
	return GatewayInSync
}

// Gateways lists the enrolled processes that may decide or were heard of within a day: those that may decide first.
func (s *Service) Gateways(ctx context.Context, c Caller) ([]Gateway, error) {
	return read(ctx, s, c, allowed("list_gateways"), func(ctx context.Context, tx *postgres.Tx) ([]Gateway, error) {
		against, err := s.look(ctx, tx)
		if err != nil {
			return nil, err
		}
		all, err := tx.Gateways(ctx, against.at.Add(-gatewayMemory))
		shown := make([]Gateway, len(all))
		for i, g := range all {
			shown[i] = against.show(g)
		}
		return shown, err
	})
}

// Gateway finds an enrolled process, however long ago it was heard of.
func (s *Service) Gateway(ctx context.Context, c Caller, id authority.GatewayID) (Gateway, error) {
	return read(ctx, s, c, allowed("get_gateway"), func(ctx context.Context, tx *postgres.Tx) (Gateway, error) {
		return s.gateway(ctx, tx, id)
	})
}

func (s *Service) gateway(ctx context.Context, tx *postgres.Tx, id authority.GatewayID) (Gateway, error) {
	against, err := s.look(ctx, tx)
	if err != nil {
		return Gateway{}, err
	}
	g, err := tx.Gateway(ctx, id)
	return against.show(g), orNotFound("gateway", err)
}

// RevokedGateway is a gateway process that was revoked, with the receipt of that.
type RevokedGateway struct {
	Gateway
	Receipt Receipt `json:"receipt"`
}

// RevokeGateway ends a single process: it is granted no lease any more, its proofs are refused and its streams end. It
// decides until the lease that it has is over, which the receipt waits for like RevokeMandate's. The gateway key enrols
// other processes as before.
func (s *Service) RevokeGateway(ctx context.Context, c Caller, id authority.GatewayID, wait time.Duration) (Written[RevokedGateway], error) {
	if err := bearable(wait); err != nil {
		return Written[RevokedGateway]{}, err
	}
	written, err := write(ctx, s, c, allowed("revoke_gateway"), func(ctx context.Context, tx *postgres.Tx, ch *change) (RevokedGateway, error) {
		return s.revokeGateway(ctx, tx, ch, id)
	})
	if err != nil {
		return written, err
	}
	written.Value.Receipt = s.awaitReceipt(ctx, c, written.Value.Receipt, wait)
	return written, nil
}

func (s *Service) revokeGateway(ctx context.Context, tx *postgres.Tx, ch *change, id authority.GatewayID) (RevokedGateway, error) {
	g, err := ch.lockGateway(ctx, tx, id)
	if err != nil {
		return RevokedGateway{}, err
	}
	if g.RevokedRevision != nil {
		before, err := ch.issuedBefore(ctx, tx, *g.RevokedRevision)
		if err != nil {
			return RevokedGateway{}, err
		}
		if before != nil {
			shown, err := s.gateway(ctx, tx, id)
			return RevokedGateway{shown, *before}, err
		}
	}
	if err := tx.RevokeGateway(ctx, id, ch.at, ch.revision); err != nil {
		return RevokedGateway{}, err
	}
	r := ch.receipt(authority.ReceiptOfGateway, authority.ReceiptTarget{GatewayID: id})
	ch.tell(authority.Event{Type: authority.EventGatewayRevoked, Detail: map[string]any{
		"gateway_id": id, "instance": g.Instance, "receipt_id": r.ID,
	}})
	receipt, err := s.issueReceipt(ctx, tx, ch, r, nil)
	if err != nil {
		return RevokedGateway{}, err
	}
	shown, err := s.gateway(ctx, tx, id)
	return RevokedGateway{shown, receipt}, err
}

// lockGateway reads a process that is to be changed.
func (ch *change) lockGateway(ctx context.Context, tx *postgres.Tx, id authority.GatewayID) (postgres.Gateway, error) {
	g, err := tx.LockGateway(ctx, id)
	if err != nil {
		return g, orNotFound("gateway", err)
	}
	return g, ch.expect(look{at: ch.at}.show(g))
}

const maxForgetReason = 1000

// Forgetting is an operator's assertion that a process has ended for good, with the reason to believe it.
type Forgetting struct {
	Reason string `json:"reason"`
}

// ForgetGateway takes an operator's word that a process is dead: no revocation waits for it any more. A process that
// lives all the same may decide until its lease is over, and comes back by enrolling anew.
func (s *Service) ForgetGateway(ctx context.Context, c Caller, id authority.GatewayID, f Forgetting) (Written[Gateway], error) {
	written, err := write(ctx, s, c, allowed("forget_gateway"), func(ctx context.Context, tx *postgres.Tx, ch *change) (Gateway, error) {
		if strings.TrimSpace(f.Reason) == "" || len(f.Reason) > maxForgetReason || strings.ContainsFunc(f.Reason, unprintable) {
			return Gateway{}, authority.Invalid("reason", "says in 1 to %d printable bytes why the gateway is known to be dead", maxForgetReason)
		}
		g, err := ch.lockGateway(ctx, tx, id)
		if err != nil {
			return Gateway{}, err
		}
		if g.ForgottenAt != nil {
			ch.unchanged = true
			return s.gateway(ctx, tx, id)
		}
		if err := tx.ForgetGateway(ctx, id, ch.at); err != nil {
			return Gateway{}, err
		}
		if err := tx.NoteFenced(ctx, []authority.GatewayID{id}, ch.at); err != nil {
			return Gateway{}, err
		}
		ch.tell(authority.Event{Type: authority.EventGatewayForgotten, Message: f.Reason, Detail: map[string]any{
			"gateway_id": id, "instance": g.Instance, "acknowledged_revision": g.Revision, "lease": g.LeaseNumber, "lease_over": g.LeaseOver, "seen_at": g.SeenAt,
		}})
		return s.gateway(ctx, tx, id)
	})
	if err == nil {
		s.acks.wake(c.workspace)
	}
	return written, err
}

// EnvoyStatus is what a process's Envoy made of the configuration of a revision. Refusal is empty where it accepted it.
type EnvoyStatus struct {
	Revision uint64
	Refusal  string
}

// ReportEnvoy records what the process's Envoy said of its configuration.
func (s *Service) ReportEnvoy(ctx context.Context, c Caller, id authority.GatewayID, e EnvoyStatus) error {
	return s.note(ctx, c, "report_envoy", func(ctx context.Context, tx *postgres.Tx) error {
		return tx.SetEnvoyStatus(ctx, postgres.EnvoyStatus{
			GatewayID: id, KeyID: c.key, Revision: min(e.Revision, maxSequence), Refusal: clean(e.Refusal, maxEnvoyRefusal),
		}, s.now())
	})
}

// note writes what a gateway says of itself: no change of the workspace, so neither revision nor event.
func (s *Service) note(ctx context.Context, c Caller, name string, write func(context.Context, *postgres.Tx) error) error {
	op := allowed(name)
	if err := s.permit(ctx, c, op); err != nil {
		return err
	}
	return s.tell(ctx, orNotFound("gateway", s.store.Write(ctx, c.workspace, write)))
}
