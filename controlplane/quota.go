package controlplane

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Quota is how many of something there may be, and how many there are.
type Quota struct {
	Name  string `json:"quota"`
	Count int64  `json:"count"`
	Limit int64  `json:"limit"`
}

// The names of quotas.
const (
	QuotaPrincipals   = "principals"
	QuotaMembers      = "members"
	QuotaKeys         = "keys"
	QuotaPolicies     = "policies"
	QuotaMandates     = "live_mandates"
	QuotaChildren     = "children_per_mandate"
	QuotaDestinations = "destinations"
	QuotaIssuers      = "issuers"
	QuotaRego         = "rego_versions"
	QuotaWorkspaces   = "workspaces_per_person"
	QuotaGateways     = "gateways_per_key"
)

// maxQuota is the largest limit that a deployment may set.
const maxQuota = 1_000_000

// DefaultQuotas are the limits of a deployment that sets none: all of them are of one workspace, but for the children of
// one mandate, the workspaces of one person and the gateways of one key.
func DefaultQuotas() map[string]int64 {
	return map[string]int64{
		QuotaPrincipals:   10_000,
		QuotaMembers:      1_000,
		QuotaKeys:         20_000,
		QuotaPolicies:     10_000,
		QuotaMandates:     20_000,
		QuotaChildren:     authority.MaxChildren,
		QuotaDestinations: 1_000,
		QuotaIssuers:      50,
		QuotaRego:         200,
		QuotaWorkspaces:   100,
		QuotaGateways:     5_000,
	}
}

// quotasOf completes the limits that a deployment sets.
func quotasOf(set map[string]int64) (map[string]int64, error) {
	limits := DefaultQuotas()
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if _, known := limits[name]; !known {
			return nil, fmt.Errorf("there is no quota %q: %v", name, slices.Sorted(maps.Keys(limits)))
		}
		if set[name] < 1 || set[name] > maxQuota {
			return nil, fmt.Errorf("the quota %q is from 1 to %d", name, maxQuota)
		}
		limits[name] = set[name]
	}
	if limits[QuotaChildren] > authority.MaxChildren {
		return nil, fmt.Errorf("the quota %q is at most %d", QuotaChildren, authority.MaxChildren)
	}
	return limits, nil
}

// room refuses one more of what a quota counts. It counts inside the transaction of the change, which holds the
// workspace's revision: writers at once take turns, and none passes the limit.
func (s *Service) room(ctx context.Context, tx *postgres.Tx, ch *change, quota string) error {
	count, err := counted(ctx, tx, quota, ch.at)
	if err != nil {
		return err
	}
	return s.within(quota, count)
}

// roomForPerson refuses one more workspace to a person. What other workspaces add of the same person at once takes turns.
func (s *Service) roomForPerson(ctx context.Context, tx *postgres.Tx, id authority.PersonID) error {
	count, err := tx.CountMemberships(ctx, id)
	if err != nil {
		return err
	}
	return s.within(QuotaWorkspaces, count)
}

// roomForMember refuses one more member; the person is empty for somebody new.
func (s *Service) roomForMember(ctx context.Context, tx *postgres.Tx, ch *change, id authority.PersonID) error {
	for _, quota := range []string{QuotaMembers, QuotaPrincipals} {
		if err := s.room(ctx, tx, ch, quota); err != nil {
			return err
		}
	}
	if id == "" {
		return nil
	}
	return s.roomForPerson(ctx, tx, id)
}

// roomForGateway refuses one more process of a gateway key. Enrolments with a key take turns.
func (s *Service) roomForGateway(ctx context.Context, tx *postgres.Tx, ch *change) error {
	count, err := tx.CountLiveGateways(ctx, ch.caller.key, ch.at.Add(-gatewayMemory))
	if err != nil {
		return err
	}
	return s.within(QuotaGateways, count)
}

// within refuses one more where there are so many already.
func (s *Service) within(quota string, count int64) error {
	limit := s.quotas[quota]
	if count < limit {
		return nil
	}
	return &authority.Error{
		Code:    authority.CodeQuota,
		Message: fmt.Sprintf("the quota %s is used up: %d of %d", quota, count, limit),
	}
}

// counted counts what a quota of the workspace is about.
func counted(ctx context.Context, tx *postgres.Tx, quota string, at time.Time) (int64, error) {
	switch quota {
	case QuotaPrincipals:
		return tx.CountPrincipals(ctx)
	case QuotaMembers:
		return tx.CountMembers(ctx)
	case QuotaKeys:
		return tx.CountLiveKeys(ctx, at)
	case QuotaPolicies:
		n, err := tx.CountActivePolicies(ctx)
		return int64(n), err
	case QuotaMandates:
		return tx.CountLiveMandates(ctx, at)
	case QuotaDestinations:
		return tx.CountDestinations(ctx)
	case QuotaIssuers:
		return tx.CountIssuers(ctx)
	case QuotaRego:
		return tx.CountRegoVersions(ctx)
	}
	return 0, fmt.Errorf("the quota %q is not of a workspace", quota)
}

// Usage tells how much of each quota the workspace has used.
func (s *Service) Usage(ctx context.Context, c Caller, slug string) ([]Quota, error) {
	if c.workspace != "" && slug != c.slug {
		return nil, authority.NotFound("workspace")
	}
	return read(ctx, s, c, allowed("get_workspace_usage"), func(ctx context.Context, tx *postgres.Tx) ([]Quota, error) {
		var all []Quota
		for _, name := range []string{
			QuotaPrincipals, QuotaMembers, QuotaKeys, QuotaPolicies, QuotaMandates, QuotaDestinations,
			QuotaIssuers, QuotaRego,
		} {
			count, err := counted(ctx, tx, name, s.now())
			if err != nil {
				return nil, err
			}
			all = append(all, Quota{Name: name, Count: count, Limit: s.quotas[name]})
		}
		return all, nil
	})
}
