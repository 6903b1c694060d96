package controlplane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/rego"
)

const (
	pushTimeout       = 10 * time.Second // for compiling and testing a version
	maxVetting        = 2                // versions at once: each may take a processor and some 100 MB
	maxRegoMessage    = 1000             // bytes
	maxCachedPolicies = 64
	maxRegoPage       = 10 // versions in one page: each may be of more than a megabyte
)

// RegoPush is a new version of the workspace's Rego policy. Modules maps paths to texts, tests included.
type RegoPush struct {
	Modules  map[string]string `json:"modules"`
	Data     map[string]any    `json:"data"`
	Message  string            `json:"message"`
	Activate bool              `json:"activate"`
}

// InvalidRego says why a version of a Rego policy was not stored.
type InvalidRego struct {
	Problems []RegoProblem // at least one
}

// RegoProblem is one thing that is wrong with a version, for its author to read.
type RegoProblem = rego.Problem

// problemTest is the code of a test that fails.
const problemTest rego.ProblemCode = "test_failed"

func (e *InvalidRego) Error() string { return e.Unwrap().Error() }

// Unwrap is the invalid_request that the problems amount to.
func (e *InvalidRego) Unwrap() error {
	more := ""
	if len(e.Problems) > 1 {
		more = fmt.Sprintf(" (%d problems in all)", len(e.Problems))
	}
	return authority.Invalid("modules", "%s%s", e.Problems[0], more)
}

// PushRego compiles and tests a version and stores it. A version that does not compile or whose tests fail is an
// *InvalidRego, which is an invalid_request too.
func (s *Service) PushRego(ctx context.Context, c Caller, p RegoPush) (Written[authority.RegoVersion], error) {
	op := allowed("push_rego")
	none := Written[authority.RegoVersion]{}
	if err := s.permit(ctx, c, op); err != nil {
		return none, err
	}
	if len(p.Message) > maxRegoMessage {
		return none, authority.Invalid("message", "has at most %d bytes", maxRegoMessage)
	}
	if p.Modules == nil {
		p.Modules = map[string]string{}
	}
	if p.Data == nil {
		p.Data = map[string]any{}
	}
	if err := s.vet(ctx, rego.Source{Modules: p.Modules, Data: p.Data}); err != nil {
		return none, err
	}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.RegoVersion, error) {
		number, err := tx.NextRegoNumber(ctx)
		if err != nil {
			return authority.RegoVersion{}, err
		}
		v := authority.RegoVersion{
			ID: authority.NewID[authority.RegoVersionID](), WorkspaceID: c.workspace, Number: number, Modules: p.Modules,
			Data: p.Data, Message: p.Message, Active: p.Activate, CreatedBy: c.principal.ID, CreatedAt: ch.at,
		}
		pushed := regoEvent(authority.EventRegoPushed, v)
		if p.Activate {
			if err := tx.DeactivateRego(ctx); err != nil {
				return v, err
			}
		}
		if err := tx.InsertRegoVersion(ctx, v); err != nil {
			return v, err
		}
		// A version more than are kept takes the place of the oldest.
		removed, err := tx.RemoveOldRego(ctx, v.ID, s.quotas[QuotaRego])
		if len(removed) > 0 {
			pushed.Detail["removed"] = removed
		}
		ch.tell(pushed)
		if p.Activate {
			ch.tell(regoEvent(authority.EventRegoActivated, v))
		}
		return v, err
	})
}

// vet compiles a source and runs its tests, when it is its turn.
func (s *Service) vet(ctx context.Context, source rego.Source) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	select {
	case s.vetting <- struct{}{}:
		defer func() { <-s.vetting }()
	case <-ctx.Done():
		return &authority.Error{Code: authority.CodeLimited, Message: "other versions of Rego policies are being compiled and tested; try again"}
	}
	_, err := rego.Compile(ctx, source)
	var results []rego.TestResult
	if err == nil {
		results, err = rego.Test(ctx, source)
	}
	var invalid *rego.InvalidError
	switch {
	case errors.As(err, &invalid):
		return &InvalidRego{Problems: invalid.Problems}
	case errors.Is(err, context.DeadlineExceeded):
		return authority.Invalid("modules", "compiling and testing takes longer than %s", pushTimeout)
	case err != nil:
		return fmt.Errorf("vet Rego policy: %w", err)
	}
	var failed []RegoProblem
	for _, r := range results {
		if !r.Passed && !r.Skipped {
			message := fmt.Sprintf("the test %s fails", r.Name)
			if r.Error != "" {
				message += ": " + r.Error
			}
			failed = append(failed, RegoProblem{File: r.File, Row: r.Row, Code: problemTest, Message: message})
		}
	}
	if len(failed) > 0 {
		return &InvalidRego{Problems: failed}
	}
	return nil
}

func regoEvent(t authority.EventType, v authority.RegoVersion) authority.Event {
	return authority.Event{Type: t, RegoVersion: v.ID, Message: v.Message, Detail: map[string]any{"number": v.Number}}
}

// RegoFilter narrows a list of versions; a zero field does not.
type RegoFilter = postgres.RegoFilter

// RegoVersions lists the versions. Its pages are smaller than those of other lists.
func (s *Service) RegoVersions(ctx context.Context, c Caller, f RegoFilter, p Page) (List[authority.RegoVersion], error) {
	op := allowed("list_rego_versions")
	if p.Limit == 0 || p.Limit > maxRegoPage && p.Limit <= MaxPage {
		p.Limit = maxRegoPage
	}
	return listing[authority.RegoVersion]{
		op: op, filter: f, keys: byCreation(),
		look: func(ctx context.Context, tx *postgres.Tx, page postgres.Page) ([]authority.RegoVersion, error) {
			return tx.RegoVersions(ctx, f, page)
		},
		end: func(v authority.RegoVersion, key postgres.Key) place {
			return placed(key, v.CreatedAt, "", string(v.ID))
		},
	}.read(ctx, s, c, p)
}

// RegoVersion finds a version.
func (s *Service) RegoVersion(ctx context.Context, c Caller, id authority.RegoVersionID) (authority.RegoVersion, error) {
	op := allowed("get_rego_version")
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (authority.RegoVersion, error) {
		v, err := tx.RegoVersion(ctx, id)
		return v, orNotFound("Rego version", err)
	})
}

// ActivateRego makes a version, older ones included, the one that gateways evaluate.
func (s *Service) ActivateRego(ctx context.Context, c Caller, id authority.RegoVersionID) (Written[authority.RegoVersion], error) {
	op := allowed("activate_rego")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.RegoVersion, error) {
		v, err := tx.RegoVersion(ctx, id)
		if err != nil {
			return v, orNotFound("Rego version", err)
		}
		if err := ch.expect(v); err != nil {
			return v, err
		}
		if v.Active {
			ch.unchanged = true
			return v, nil
		}
		v.Active = true
		ch.tell(regoEvent(authority.EventRegoActivated, v))
		return v, tx.ActivateRego(ctx, id)
	})
}

// policyCache keeps compiled versions, which never change. The zero cache is ready.
type policyCache struct {
	mu       sync.Mutex // guards compiled
	compiled map[authority.RegoVersionID]*rego.Policy
}

// of compiles a version, or the base policy alone when there is none.
func (p *policyCache) of(ctx context.Context, v *authority.RegoVersion) (*rego.Policy, error) {
	var (
		id     authority.RegoVersionID
		source rego.Source
	)
	if v != nil {
		id, source = v.ID, rego.Source{Modules: v.Modules, Data: v.Data}
	}
	p.mu.Lock()
	policy := p.compiled[id]
	p.mu.Unlock()
	if policy != nil {
		return policy, nil
	}
	policy, err := rego.Compile(ctx, source)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.compiled == nil || len(p.compiled) >= maxCachedPolicies {
		p.compiled = map[authority.RegoVersionID]*rego.Policy{}
	}
	p.compiled[id] = policy
	return policy, nil
}
