package controlplane

import (
	"context"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

const (
	// endedKept is for how long a mandate that ended is told to gateways, so that they can say that it did.
	endedKept = 24 * time.Hour
	// maxChanges bounds how many things are told one by one; when more change, the whole state is told.
	maxChanges = 20_000
)

// headReaders say of each kind of change how the part of the head is read that it changes.
func headReaders() map[postgres.ChangeKind]func(context.Context, *postgres.Tx, *bundle.Head) error {
	return map[postgres.ChangeKind]func(context.Context, *postgres.Tx, *bundle.Head) error{
		postgres.ChangedWorkspace: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			h.Workspace, err = tx.Workspace(ctx)
			return err
		},
		postgres.ChangedPolicy: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			h.ActivePolicies, err = tx.CountActivePolicies(ctx)
			return err
		},
		postgres.ChangedDestination: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			if h.Destinations, err = tx.AllDestinations(ctx); err != nil {
				return err
			}
			if h.Envoy, err = bundle.EnvoyConfiguration(h.Destinations); err != nil {
				return fmt.Errorf("configure Envoy: %w", err)
			}
			return nil
		},
		postgres.ChangedRego: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			h.Rego, err = tx.ActiveRego(ctx)
			return err
		},
		postgres.ChangedClientAuthority: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			h.ClientAuthorities, err = tx.ClientAuthorities(ctx)
			return err
		},
		postgres.ChangedTrustedIssuer: func(ctx context.Context, tx *postgres.Tx, h *bundle.Head) (err error) {
			h.TrustedIssuers, err = trusted(ctx, tx)
			return err
		},
	}
}

// readHead reads all that is told whole whenever it changes.
func readHead(ctx context.Context, tx *postgres.Tx) (bundle.Head, error) {
	var h bundle.Head
	for _, read := range headReaders() {
		if err := read(ctx, tx, &h); err != nil {
			return h, err
		}
	}
	return h, nil
}

// span is between the times of two revisions, in whichever order: the clocks of replicas differ. What ended in it is told
// at one of the two, and not at the other.
type span struct{ from, to time.Time }

func (s span) bounds() (after, until time.Time) {
	if s.to.Before(s.from) {
		return s.to, s.from
	}
	return s.from, s.to
}

// readEdits reads how that is now which may have changed, and what changed with the time. It renews the head as far as it
// may have changed.
func readEdits(ctx context.Context, tx *postgres.Tx, changes []postgres.Changed, s span, h *bundle.Head) (bundle.Edits, error) {
	var (
		e          bundle.Edits
		principals []authority.PrincipalID
		mandates   []authority.MandateID
		keys       []authority.KeyID
		parts      = map[postgres.ChangeKind]bool{}
	)
	for _, c := range changes {
		switch c.Kind {
		case postgres.ChangedPrincipal:
			principals = append(principals, authority.PrincipalID(c.ID))
		case postgres.ChangedMandate:
			mandates = append(mandates, authority.MandateID(c.ID))
		case postgres.ChangedAgentKey:
			keys = append(keys, authority.KeyID(c.ID))
		default:
			parts[c.Kind] = true
		}
	}
	for kind, read := range headReaders() {
		if !parts[kind] {
			continue
		}
		if err := read(ctx, tx, h); err != nil {
			return e, err
		}
		e.Head = h
	}
	after, until := s.bounds()
	ended, err := tx.MandatesEndingBetween(ctx, after.Add(-endedKept), until.Add(-endedKept))
	if err != nil {
		return e, err
	}
	expired, err := tx.AgentKeysEndingBetween(ctx, after, until)
	if err != nil {
		return e, err
	}
	if e.Principals, err = editPrincipals(ctx, tx, principals); err != nil {
		return e, err
	}
	if e.Mandates, err = editMandates(ctx, tx, append(mandates, ended...), h.Workspace, s.to); err != nil {
		return e, err
	}
	e.AgentKeys, err = editAgentKeys(ctx, tx, append(keys, expired...), s.to)
	return e, err
}

func editPrincipals(ctx context.Context, tx *postgres.Tx, ids []authority.PrincipalID) (bundle.Edit[authority.Principal, authority.PrincipalID], error) {
	var e bundle.Edit[authority.Principal, authority.PrincipalID]
	if len(ids) == 0 {
		return e, nil
	}
	found, err := tx.PrincipalsAmong(ctx, ids)
	for _, id := range ids {
		if p, ok := found[id]; ok {
			e.Set = append(e.Set, p)
		} else {
			e.Removed = append(e.Removed, id)
		}
	}
	return e, err
}

func editMandates(ctx context.Context, tx *postgres.Tx, ids []authority.MandateID, w authority.Workspace, asOf time.Time) (bundle.Edit[authority.Mandate, authority.MandateID], error) {
	var e bundle.Edit[authority.Mandate, authority.MandateID]
	if len(ids) == 0 {
		return e, nil
	}
	if tellsMandates(w) {
		var err error
		if e.Set, err = tx.MandatesEndingAfterOf(ctx, ids, asOf.Add(-endedKept)); err != nil {
			return e, err
		}
	}
	e.Removed = missing(ids, e.Set, func(m authority.Mandate) authority.MandateID { return m.ID })
	return e, nil
}

func editAgentKeys(ctx context.Context, tx *postgres.Tx, ids []authority.KeyID, asOf time.Time) (bundle.Edit[bundle.AgentKey, authority.KeyID], error) {
	var e bundle.Edit[bundle.AgentKey, authority.KeyID]
	if len(ids) == 0 {
		return e, nil
	}
	keys, err := tx.LiveAgentKeysOf(ctx, ids, asOf)
	for _, k := range keys {
		e.Set = append(e.Set, bundle.AgentKey(k))
	}
	e.Removed = missing(ids, e.Set, func(k bundle.AgentKey) authority.KeyID { return k.ID })
	return e, err
}

// missing are the ids that nothing in the list has, each once.
func missing[T any, ID comparable](ids []ID, list []T, id func(T) ID) []ID {
	there := make(map[ID]bool, len(ids))
	for _, item := range list {
		there[id(item)] = true
	}
	var gone []ID
	for _, i := range ids {
		if !there[i] {
			there[i] = true
			gone = append(gone, i)
		}
	}
	return gone
}

// tellsMandates reports whether gateways are told any mandates. Of a deleted workspace none are, so that there is nothing
// to decide from, even for a gateway that does not know what a deleted workspace is.
func tellsMandates(w authority.Workspace) bool { return w.State() != authority.WorkspaceDeleted }

// audience takes what gateways are told, one thing after the other.
type audience struct {
	principal func(authority.Principal) error
	mandate   func(authority.Mandate) error
	agentKey  func(bundle.AgentKey) error
}

// tellAll passes all that a gateway is told as of an instant but the head: each list in the order of its ids, byte by byte.
func tellAll(ctx context.Context, tx *postgres.Tx, w authority.Workspace, asOf time.Time, to audience) error {
	if err := tx.EachPrincipal(ctx, to.principal); err != nil {
		return err
	}
	if tellsMandates(w) {
		if err := tx.EachMandateEndingAfter(ctx, asOf.Add(-endedKept), to.mandate); err != nil {
			return err
		}
	}
	return tx.EachLiveAgentKey(ctx, asOf, func(k postgres.AgentKey) error { return to.agentKey(bundle.AgentKey(k)) })
}

// indexPage is how many things an index takes in at once.
const indexPage = 1000

// indexing has an index take in what is told. The returned function is called once all is.
func indexing(x *bundle.Index) (to audience, finish func() error) {
	var e bundle.Edits
	take := func() error {
		_, err := x.Delta(e)
		e = bundle.Edits{}
		return err
	}
	page := func(n int) error {
		if n < indexPage {
			return nil
		}
		return take()
	}
	return audience{
		principal: func(p authority.Principal) error {
			e.Principals.Set = append(e.Principals.Set, p)
			return page(len(e.Principals.Set))
		},
		mandate: func(m authority.Mandate) error {
			e.Mandates.Set = append(e.Mandates.Set, m)
			return page(len(e.Mandates.Set))
		},
		agentKey: func(k bundle.AgentKey) error {
			e.AgentKeys.Set = append(e.AgentKeys.Set, k)
			return page(len(e.AgentKeys.Set))
		},
	}, take
}

// building has a builder take in what is told.
func building(b *bundle.Builder) audience {
	return audience{
		principal: func(p authority.Principal) error { return put(p, bundle.PrincipalItem, b.Principal) },
		mandate:   func(m authority.Mandate) error { return put(m, bundle.MandateItem, b.Mandate) },
		agentKey:  func(k bundle.AgentKey) error { return put(k, bundle.AgentKeyItem, b.AgentKey) },
	}
}

func put[T any](value T, encode func(T) (bundle.Item[T], error), add func(bundle.Item[T]) error) error {
	item, err := encode(value)
	if err != nil {
		return err
	}
	return add(item)
}
