package extauthz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
)

// judgeTunnel takes a CONNECT the whole way. What is looked into is only admitted: each request inside is judged by itself.
// What nobody sees is judged as what it is, a tunnel that can carry anything.
func (s *Service) judgeTunnel(ctx context.Context, j *judgement, m mode) (ruling, error) {
	how, d, err := s.through(j)
	if err != nil {
		return ruling{}, err
	}
	switch how {
	case authority.TunnelInspect:
		return j.admitTunnel(ctx, m, d)
	case authority.TunnelPassthrough:
		return s.judgeOpaque(ctx, j, m, d)
	default:
		return ruling{}, because(authority.ReasonTargetNotAllowed)
	}
}

// through reads where a CONNECT goes and finds what becomes of it.
func (s *Service) through(j *judgement) (authority.Tunnel, *authority.Destination, error) {
	r := j.request
	if r.path != "" {
		return "", nil, deny(authority.ReasonMalformedRequest, "A CONNECT has no path.")
	}
	if j.tells(r.host) {
		return "", nil, errTargetTells()
	}
	host, port, err := authority.ParseHostPort(r.host)
	if err != nil {
		return "", nil, err
	}
	j.target = &authority.Target{Host: host, Port: port}
	how, d, err := j.snapshot.directory.catalog.Through(host, port)
	if err != nil {
		return "", nil, err
	}
	if dials(d, *j.target, s.listeners) {
		return "", nil, deny(authority.ReasonTargetNotAllowed, "The destination leads back to this gateway.")
	}
	return how, d, nil
}

// judgeOpaque judges a tunnel that nobody looks into. One mandate covers all that it may carry, and the policy permits each
// of its actions.
func (s *Service) judgeOpaque(ctx context.Context, j *judgement, m mode, d *authority.Destination) (ruling, error) {
	actions := authority.AllActions()
	j.resource, j.action = authority.TunnelResource(j.target.Host, j.target.Port), actions[0]
	if err := j.choose(m, actions); err != nil {
		return ruling{}, err
	}
	finding, err := j.validate(actions)
	if err != nil {
		return ruling{}, err
	}
	r := ruling{target: *j.target, match: authority.Match{Destination: d, Resource: j.resource}, chain: finding.Chain, route: opaqueRoute(d, j.target.Port)}
	input := requestInput(m, j.request, r.target)
	for _, action := range actions {
		j.action = action
		verdict, err := s.consult(ctx, j, finding, input)
		if err != nil {
			return ruling{}, err
		}
		r.obligations.MaxDuration = shorter(r.obligations.MaxDuration, verdict.Obligations.MaxDuration)
	}
	j.action = actions[0]
	return r, nil
}

// shorter is the shorter of two bounds, of which zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// opaqueRoute is the key of the route that takes a tunnel's payload unseen.
func opaqueRoute(d *authority.Destination, port uint16) string {
	if route := bundle.Opaque(*d, port).Route(); route != envoy.RoutePublicPlain {
		return route
	}
	return envoy.RoutePublicTunnel
}

// admitTunnel admits a tunnel whose requests are judged one by one: some live mandate of the caller could cover one of
// them. The admission rests on the first that is found, and is looked for anew when that one ends.
func (j *judgement) admitTunnel(ctx context.Context, m mode, d *authority.Destination) (ruling, error) {
	r := ruling{target: *j.target, match: authority.Match{Destination: d}, route: envoy.RouteInside, admits: true}
	reachable := newGround(j.snapshot.directory.catalog.Reachable(d, j.target.Host, j.target.Port))
	named, err := j.named(m)
	if err != nil {
		return ruling{}, err
	}
	if named {
		r.chain, err = j.admittedBy(j.mandate, reachable)
		return r, err
	}
	fits := func(s authority.Scope) bool { return ctx.Err() == nil && couldCover(s, reachable) }
	for candidate := range j.snapshot.mandates.fitting(j.caller, j.at, nil, fits) {
		if ctx.Err() != nil {
			break
		}
		if r.chain, err = j.admittedBy(candidate.ID, reachable); err == nil {
			return r, nil
		}
	}
	if ctx.Err() != nil {
		return ruling{}, fmt.Errorf("admit a tunnel: %w", ctx.Err())
	}
	return ruling{}, j.without("covers anything at %s port %d", j.target.Host, j.target.Port)
}

// admittedBy gives the chain of a mandate of the caller that is live and could cover a request to what is reachable.
func (j *judgement) admittedBy(id authority.MandateID, reachable ground) ([]authority.Mandate, error) {
	finding := authority.Live(j.snapshot, authority.Inquiry{Mandate: id, Presenter: j.caller, Certificate: j.certificate, At: j.at})
	if finding.Reason != "" {
		return nil, found(finding)
	}
	if !couldCover(finding.Chain[0].Scope(), reachable) {
		return nil, deny(authority.ReasonNotInScope, "The mandate covers nothing at %s port %d.", j.target.Host, j.target.Port)
	}
	return finding.Chain, j.genuine(finding.Chain)
}

// couldCover reports whether a mandate of a scope could cover a request to what is reachable.
func couldCover(s authority.Scope, reachable ground) bool {
	return len(s.Actions) > 0 && slices.ContainsFunc(s.Resources, reachable.meets)
}

// ground is what is reachable, in a form in which very many patterns are held against it: a caller may have thousands of
// mandates, and a destination hundreds of rules.
type ground struct {
	literal []authority.ResourcePattern // in order
	open    []authority.ResourcePattern // with a `*`
}

func newGround(patterns []authority.ResourcePattern) ground {
	var g ground
	for _, p := range patterns {
		if strings.Contains(string(p), "*") {
			g.open = append(g.open, p)
		} else {
			g.literal = append(g.literal, p)
		}
	}
	slices.Sort(g.literal)
	slices.Sort(g.open)
	g.open = slices.Compact(g.open)
	return g
}

// meets reports whether some of it has a resource in common with a pattern. Of what is literal, only that can have one which
// begins as the pattern does before its first `*`.
func (g ground) meets(p authority.ResourcePattern) bool {
	before, _, isOpen := strings.Cut(string(p), "*")
	i, exact := slices.BinarySearch(g.literal, authority.ResourcePattern(before))
	if !isOpen && exact {
		return true
	}
	for ; isOpen && i < len(g.literal) && strings.HasPrefix(string(g.literal[i]), before); i++ {
		if p.Overlaps(g.literal[i]) {
			return true
		}
	}
	return slices.ContainsFunc(g.open, p.Overlaps)
}
