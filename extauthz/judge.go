package extauthz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/rego"
)

// ruling is what a request that may pass was judged to be.
type ruling struct {
	target      authority.Target
	match       authority.Match
	chain       []authority.Mandate
	obligations rego.Obligations
	route       string
	// admits says that a tunnel may be opened whose requests are judged by themselves, and nothing more.
	admits bool
}

// judge takes a request the whole way. The order is that of the reasons: who asks, for what, by which mandate, whether the
// mandate covers it, and whether the workspace's policy objects.
func (s *Service) judge(ctx context.Context, j *judgement) (ruling, error) {
	m := modeOf(j.request.asked)
	if err := j.identify(m); err != nil {
		return ruling{}, err
	}
	if err := j.snapshot.open(); err != nil {
		return ruling{}, err
	}
	if j.request.asked == endpointConnect {
		return s.judgeTunnel(ctx, j, m)
	}
	target, match, err := s.resolve(j, m)
	if err != nil {
		return ruling{}, err
	}
	actions := neededActions(j.request, match.Action)
	if err := j.choose(m, actions); err != nil {
		return ruling{}, err
	}
	finding, err := j.validate(actions)
	if err != nil {
		return ruling{}, err
	}
	verdict, err := s.consult(ctx, j, finding, requestInput(m, j.request, target))
	if err != nil {
		return ruling{}, err
	}
	route, err := j.snapshot.route(match, target)
	return ruling{target: target, match: match, chain: finding.Chain, obligations: verdict.Obligations, route: route}, err
}

// permit judges a request and says how it goes on. Unless it ends by itself soon enough, what is to be kept of it as long
// as it lasts comes with the permit.
func (s *Service) permit(ctx context.Context, j *judgement) (Permit, *permitted, error) {
	r, err := s.judge(ctx, j)
	if err != nil {
		return Permit{}, nil, err
	}
	o, err := s.oblige(j, r)
	if err != nil {
		return Permit{}, nil, err
	}
	if j.request.asked == endpointConnect {
		return permitTunnel(j, r.target, o), j.permitted(r, o), nil
	}
	if j.request.asked == endpointForeign {
		return permitForeign(j, o), nil, nil
	}
	if o.ends != envoy.BoundWatched {
		return permitTarget(j, r.target, o), nil, nil
	}
	return permitTarget(j, r.target, o), j.permitted(r, o), nil
}

// resolve reads the target and finds what a request to it is.
func (s *Service) resolve(j *judgement, m mode) (authority.Target, authority.Match, error) {
	fail := func(err error) (authority.Target, authority.Match, error) {
		return authority.Target{}, authority.Match{}, err
	}
	target, err := m.target(s, j)
	if err != nil {
		return fail(err)
	}
	j.target = &target
	if err := j.carriable(m); err != nil {
		return fail(err)
	}
	match, err := j.snapshot.directory.catalog.Resolve(j.request.method, target)
	if err != nil {
		return fail(err)
	}
	j.resource, j.action = match.Resource, match.Action
	if dials(match.Destination, target, s.listeners) {
		return fail(deny(authority.ReasonTargetNotAllowed, "The destination leads back to this gateway."))
	}
	return target, match, nil
}

// carriable refuses what a request says to its upstream that none may be told.
func (j *judgement) carriable(m mode) error {
	if j.tells(j.request.value(headerUpstreamAuth)) {
		return deny(authority.ReasonMalformedHeader, "X-Caracal-Upstream-Authorization holds a credential of Caracal, which no upstream may see.")
	}
	own := slices.Contains(j.credential.headers, headerAuthorization)
	if m.keepsAuthorization && !own && j.tells(j.request.value(headerAuthorization)) {
		return deny(authority.ReasonMalformedHeader, "Authorization holds a credential of Caracal, which no upstream may see.")
	}
	if upgrade := j.request.value(headerUpgrade); upgrade != "" && !strings.EqualFold(upgrade, "websocket") {
		return deny(authority.ReasonMalformedHeader, "The only upgrade that is carried is to websocket.")
	}
	return nil
}

// namedTarget reads the target that a header names.
func (s *Service) namedTarget(j *judgement) (authority.Target, error) {
	raw := j.request.value(headerTarget)
	if raw == "" {
		return authority.Target{}, deny(authority.ReasonMissingTarget, "The request needs the header X-Caracal-Target-URL.")
	}
	if j.tells(raw) {
		return authority.Target{}, errTargetTells()
	}
	return authority.ParseTarget(raw)
}

// neededActions are the actions that a request needs on its resource, its own first. An upgraded connection carries
// data both ways, whatever the method of the request that asked for it.
func neededActions(r *request, own authority.Action) []authority.Action {
	if r.value(headerUpgrade) == "" {
		return []authority.Action{own}
	}
	return []authority.Action{own, authority.Read, authority.Write}
}

// validate judges the mandate by the rules of authority, for each action, and checks the signatures of its chain.
func (j *judgement) validate(actions []authority.Action) (authority.Finding, error) {
	var first authority.Finding
	for i, action := range actions {
		finding := authority.Validate(j.snapshot, authority.Inquiry{
			Mandate: j.mandate, Presenter: j.caller, Certificate: j.certificate, Unpresented: j.inquiry,
			Resource: j.resource, Action: action, At: j.at,
		})
		if !finding.Holds() {
			return finding, found(finding)
		}
		if i == 0 {
			first = finding
		}
	}
	return first, j.genuine(first.Chain)
}

// genuine checks the signatures of a chain.
func (j *judgement) genuine(chain []authority.Mandate) error {
	if err := j.snapshot.verify(chain); err != nil {
		return &Denial{Reason: authority.ReasonChainInvalid, Message: "A mandate of the chain does not say what was signed."}
	}
	return nil
}

// found is the denial that a finding is.
func found(f authority.Finding) error {
	if f.Reason == "" {
		return errors.New("validate: not every fact holds, and none is named")
	}
	return &Denial{Reason: f.Reason, Message: f.Message}
}

// consult asks the Rego policy. Only a verdict that allows comes back without an error.
func (s *Service) consult(ctx context.Context, j *judgement, f authority.Finding, request rego.Request) (rego.Verdict, error) {
	verdict, err := j.snapshot.policy.Evaluate(ctx, policyInput(j, f, request))
	switch {
	case errors.Is(err, rego.ErrTimeout):
		return verdict, because(authority.ReasonPolicyTimeout)
	case err != nil:
		s.log.Warn("policy failed", "decision_id", j.id, "rego_version_id", j.snapshot.regoVersion, "error", err)
		return verdict, because(authority.ReasonPolicyError)
	case len(verdict.Denials) > 0:
		first := verdict.Denials[0]
		return verdict, &Denial{Reason: authority.ReasonPolicyDenied, Message: first.Message, Code: first.Code}
	case len(verdict.Approvals) > 0:
		first := verdict.Approvals[0]
		return verdict, &Denial{Reason: authority.ReasonApprovalRequired, Message: first.Message, Code: first.Code}
	case !verdict.Allow:
		s.log.Warn("policy disagrees with the facts", "decision_id", j.id, "rego_version_id", j.snapshot.regoVersion, "unmet", verdict.Unmet)
		return verdict, because(authority.ReasonPolicyError)
	}
	return verdict, nil
}

// obligations are the conditions under which a permitted request goes on.
type obligations struct {
	route      string
	bound      time.Duration // of the whole exchange; 0 for what only its watch ends
	ends       string        // what ends it: its watch, or that it is short
	credential header        // the destination's own; zero when it has none
}

func (s *Service) oblige(j *judgement, r ruling) (obligations, error) {
	settings := j.snapshot.workspace.Settings
	o := obligations{route: r.route}
	var err error
	if o.ends, err = s.ends(o.route, settings, r.match.Destination, j.request); err != nil || r.admits {
		return o, err
	}
	limits := []time.Duration{seconds(settings.MaxStreamSeconds), r.obligations.MaxDuration}
	if d := r.match.Destination; d != nil {
		limits = append(limits, seconds(d.MaxDurationSeconds))
		if o.credential, err = s.credentialOf(d, j.request); err != nil {
			s.log.Warn("credential unavailable", "decision_id", j.id, "destination_id", d.ID, "error", err)
			return o, because(authority.ReasonMissingCredential)
		}
	}
	if o.bound = bound(j.at, r.chain, limits...); o.bound <= 0 {
		return o, because(authority.ReasonExpired)
	}
	return o, nil
}

// ends says what ends a request on its route. One that is short is watched until Envoy has the way for short ones.
func (s *Service) ends(route string, settings authority.Settings, d *authority.Destination, r *request) (string, error) {
	if r.asked == endpointForeign {
		return "", mayGoForeign(d)
	}
	if isShort(settings, d, r) {
		if short := envoy.Short(d.MaxDurationSeconds); s.routes(envoy.Way(route, short)) {
			return short, nil
		}
	}
	if !s.routes(envoy.Way(route, envoy.BoundWatched)) {
		return "", because(authority.ReasonRouteNotReady)
	}
	if route == envoy.RouteInside && s.inspects != nil && !s.inspects() {
		return "", because(authority.ReasonInspectionUnavailable)
	}
	return envoy.BoundWatched, nil
}

// isShort reports whether a request ends by itself before a revocation that comes after it is said to be in effect. What
// asks to become a connection does not end so, whatever its destination says.
func isShort(settings authority.Settings, d *authority.Destination, r *request) bool {
	return d != nil && d.MaxDurationSeconds > 0 && d.MaxDurationSeconds <= min(settings.ShortRequestSeconds, envoy.MaxShort) && r.value(headerUpgrade) == "" && r.method != methodConnect
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// credentialOf is the header that carries a destination's secret. Where the destination names a client certificate too, it
// is one that Envoy has. A tunnel carries neither.
func (s *Service) credentialOf(d *authority.Destination, r *request) (header, error) {
	if r.method == methodConnect {
		return header{}, nil
	}
	if d.ClientCertificate != "" && !s.shows(d.ClientCertificate) {
		return header{}, fmt.Errorf("destination %s: client certificate %q: Envoy has none", d.ID, d.ClientCertificate)
	}
	if d.Credential == nil {
		return header{}, nil
	}
	secret, err := s.credentials.secret(d.Credential.Name)
	if err != nil {
		return header{}, fmt.Errorf("destination %s: %w", d.ID, err)
	}
	return header{strings.ToLower(d.Credential.Header), d.Credential.Prefix + secret}, nil
}
