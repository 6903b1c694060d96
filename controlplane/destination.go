package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// CreateDestination adds a destination to the catalog. Its ids, workspace and time of creation are made here; what is
// given of them does not count.
func (s *Service) CreateDestination(ctx context.Context, c Caller, d authority.Destination) (Written[authority.Destination], error) {
	op := allowed("create_destination")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Destination, error) {
		d.ID, d.WorkspaceID, d.CreatedAt = authority.NewID[authority.DestinationID](), c.workspace, ch.at
		d := storable(d.WithDefaults(), nil)
		all, err := tx.AllDestinations(ctx)
		if err != nil {
			return d, err
		}
		if err := s.within(QuotaDestinations, int64(len(all))); err != nil {
			return d, err
		}
		after, err := checkCatalog(all, d)
		if err != nil {
			return d, err
		}
		created := destinationEvent(authority.EventDestinationCreated, d)
		if err := ch.replaceCatalog(ctx, tx, all, after, &created); err != nil {
			return d, err
		}
		ch.tell(created)
		return d, tx.InsertDestination(ctx, d)
	})
}

// storable gives every rule an id, keeping those that the destination had, and writes nothing as empty.
func storable(d authority.Destination, before []authority.Rule) authority.Destination {
	d.Rules = append([]authority.Rule{}, d.Rules...)
	d.Addresses = append([]netip.Prefix{}, d.Addresses...)
	d.Ports = append([]uint16{}, d.Ports...)
	taken := map[authority.RuleID]bool{}
	for i := range d.Rules {
		r := &d.Rules[i]
		had := slices.ContainsFunc(before, func(b authority.Rule) bool { return b.ID == r.ID })
		if !had || taken[r.ID] {
			r.ID = authority.NewID[authority.RuleID]()
		}
		taken[r.ID] = true
	}
	return d
}

// checkCatalog judges the whole catalog with a destination in it: what each is alone, that no two serve the same, and
// that Envoy can be configured for it.
func checkCatalog(others []authority.Destination, d authority.Destination) (*authority.Catalog, error) {
	for _, other := range others {
		if other.Name == d.Name {
			return nil, &authority.Error{Code: authority.CodeConflict, Field: "name", Message: fmt.Sprintf("a destination is named %q already", d.Name)}
		}
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	catalog, err := catalogWith(others, d)
	if err != nil {
		return nil, err
	}
	for _, port := range d.Ports {
		if err := bundle.Upstream(d, port).Check(); err != nil {
			return nil, authority.Invalid("", "%s", err)
		}
	}
	return catalog, nil
}

// replaceCatalog asks for the consent that the difference to the catalog of the destinations before needs.
func (ch *change) replaceCatalog(ctx context.Context, tx *postgres.Tx, before []authority.Destination, after *authority.Catalog, event *authority.Event) error {
	catalog, err := authority.NewCatalog(before)
	if err != nil {
		return fmt.Errorf("catalog before the change: %w", err)
	}
	return ch.touch(ctx, tx, catalog, after, event)
}

// catalogWith is the catalog of destinations that are good already and one that may not be, whose field an error names.
func catalogWith(others []authority.Destination, d authority.Destination) (*authority.Catalog, error) {
	catalog, err := authority.NewCatalog(append(slices.Clone(others), d))
	var told *authority.Error
	if errors.As(err, &told) {
		about := *told
		about.Field = strings.TrimPrefix(about.Field, fmt.Sprintf("[%d].", len(others)))
		return nil, &about
	}
	return catalog, err
}

func destinationEvent(t authority.EventType, d authority.Destination) authority.Event {
	return authority.Event{Type: t, Detail: map[string]any{"destination": d}}
}

// DestinationFilter narrows a list of destinations; a zero field does not.
type DestinationFilter = postgres.DestinationFilter

// Destinations lists the catalog.
func (s *Service) Destinations(ctx context.Context, c Caller, f DestinationFilter, p Page) (List[authority.Destination], error) {
	op := allowed("list_destinations")
	return listing[authority.Destination]{
		op: op, filter: f, keys: byNameToo(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.Destination, error) {
			return tx.Destinations(ctx, f, page)
		},
		end: func(d authority.Destination, key postgres.Key) place {
			return placed(key, d.CreatedAt, d.Name, string(d.ID))
		},
	}.read(ctx, s, c, p)
}

// Destination finds a destination.
func (s *Service) Destination(ctx context.Context, c Caller, id authority.DestinationID) (authority.Destination, error) {
	op := allowed("get_destination")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.Destination, error) {
		d, err := tx.Destination(ctx, id)
		return d, orNotFound("destination", err)
	})
}

// UpdateDestination replaces a destination. A rule that names the id of one of its present rules keeps it.
func (s *Service) UpdateDestination(ctx context.Context, c Caller, id authority.DestinationID, d authority.Destination) (Written[authority.Destination], error) {
	op := allowed("replace_destination")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Destination, error) {
		before, err := tx.Destination(ctx, id)
		if err != nil {
			return d, orNotFound("destination", err)
		}
		if err := ch.expect(before); err != nil {
			return d, err
		}
		d.ID, d.WorkspaceID, d.CreatedAt = id, c.workspace, before.CreatedAt
		d := storable(d.WithDefaults(), before.Rules)
		all, err := tx.AllDestinations(ctx)
		if err != nil {
			return d, err
		}
		others := slices.DeleteFunc(all, func(o authority.Destination) bool { return o.ID == id })
		after, err := checkCatalog(others, d)
		if err != nil {
			return d, err
		}
		if equalJSON(before, d) {
			ch.unchanged = true
			return before, nil
		}
		updated := changed(authority.EventDestinationUpdated, before, d)
		if err := ch.replaceCatalog(ctx, tx, append(others, before), after, &updated); err != nil {
			return d, err
		}
		ch.tell(updated)
		return d, tx.UpdateDestination(ctx, d)
	})
}

// DeleteDestination removes a destination and tells what it was.
func (s *Service) DeleteDestination(ctx context.Context, c Caller, id authority.DestinationID) (Written[authority.Destination], error) {
	op := allowed("delete_destination")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Destination, error) {
		d, err := tx.Destination(ctx, id)
		if err != nil {
			return d, orNotFound("destination", err)
		}
		if err := ch.expect(d); err != nil {
			return d, err
		}
		all, err := tx.AllDestinations(ctx)
		if err != nil {
			return d, err
		}
		others := slices.DeleteFunc(slices.Clone(all), func(o authority.Destination) bool { return o.ID == id })
		after, err := authority.NewCatalog(others)
		if err != nil {
			return d, fmt.Errorf("catalog without %s: %w", id, err)
		}
		deleted := destinationEvent(authority.EventDestinationDeleted, d)
		if err := ch.replaceCatalog(ctx, tx, all, after, &deleted); err != nil {
			return d, err
		}
		ch.tell(deleted)
		return d, tx.DeleteDestination(ctx, id)
	})
}
