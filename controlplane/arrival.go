package controlplane

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// passage is one stream of a gateway process that came, or the last of one that went. Thousands come and go at once when a
// replica starts or stops.
type passage struct {
	gateway  authority.GatewayID
	key      authority.KeyID
	instance string
	program  Program
	leaves   bool
}

// notePassages writes, in one transaction, who came and who went. A process that did both is there. It answers for each
// that came why it is not served; nil where it is.
func (s *Service) notePassages(ctx context.Context, w authority.WorkspaceID, all []passage) ([]error, error) {
	answers := make([]error, len(all))
	err := s.store.Write(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		at := s.now()
		if err := tx.LockGateways(ctx, distinct(all)); err != nil {
			return err
		}
		var gone []authority.GatewayID
		came := map[string][]passage{} // by program
		for _, p := range all {
			if p.leaves {
				gone = append(gone, p.gateway)
				continue
			}
			program := fmt.Sprint(p.program)
			came[program] = append(came[program], p)
		}
		if len(gone) > 0 {
			if err := tx.DisconnectGateways(ctx, gone, at); err != nil {
				return err
			}
		}
		marked := map[authority.GatewayID]bool{}
		for _, alike := range came {
			if err := connect(ctx, tx, alike, at, marked); err != nil {
				return err
			}
		}
		for i, p := range all {
			answers[i] = nil
			if !p.leaves && !marked[p.gateway] {
				answers[i] = authority.NotFound("gateway")
			}
		}
		return nil
	})
	return answers, err
}

func distinct(all []passage) []authority.GatewayID {
	ids := make([]authority.GatewayID, len(all))
	for i, p := range all {
		ids[i] = p.gateway
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// connect marks processes connected that run the same program.
func connect(ctx context.Context, tx *postgres.Tx, alike []passage, at time.Time, marked map[authority.GatewayID]bool) error {
	arrivals := make([]postgres.Arrival, len(alike))
	for i, p := range alike {
		arrivals[i] = postgres.Arrival{GatewayID: p.gateway, KeyID: p.key, Instance: clean(p.instance, maxInstance)}
	}
	program := alike[0].program
	ids, err := tx.ConnectGateways(ctx, arrivals, clean(program.Version, maxInstance), append([]uint32{}, program.Formats...), at)
	for _, id := range ids {
		marked[id] = true
	}
	return err
}
