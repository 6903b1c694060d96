package extauthz

import (
	"context"
	"errors"
	"fmt"
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
}

// judge takes a request to /api/proxy the whole way. The order is that of the reasons: who asks, for what, by which
// mandate, whether the mandate covers it, and whether the workspace's policy objects.
func (s *Service) judge(ctx context.Context, j *judgement) (ruling, error) {
	caller, err := identify(j.snapshot, j.request, j.shown)
	if err != nil {
		return ruling{}, err
	}
	j.caller, j.certificate = caller.ID, j.request.peer.thumbprint
	if err := j.snapshot.open(); err != nil {
		return ruling{}, err
	}
	target, match, err := s.resolve(j)
	if err != nil {
		return ruling{}, err
	}
	if err := j.presented(j.request.value(headerMandate)); err != nil {
		return ruling{}, err
	}
	finding, err := j.validate(neededActions(j.request, match.Action))
	if err != nil {
		return ruling{}, err
	}
	verdict, err := s.consult(ctx, j, finding, requestInput(j.request, target))
	if err != nil {
		return ruling{}, err
	}
	return ruling{target, match, finding.Chain, verdict.Obligations}, nil
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
	if o.ends != envoy.BoundWatched {
		return permitTarget(j.request, r.target, o), nil, nil
	}
	return permitTarget(j.request, r.target, o), j.permitted(r, o), nil
}

// resolve reads the target and finds what a request to it is.
func (s *Service) resolve(j *judgement) (authority.Target, authority.Match, error) {
	fail := func(err error) (authority.Target, authority.Match, error) {
		return authority.Target{}, authority.Match{}, err
	}
	raw := j.request.value(headerTarget)
	if raw == "" {
		return fail(deny(authority.ReasonMissingTarget, "The request needs the header X-Caracal-Target-URL."))
	}
	if j.request.tells(raw) {
		return fail(deny(authority.ReasonInvalidTarget, "The target URL holds a credential of Caracal, which no upstream may see."))
	}
	if j.request.tells(j.request.value(headerUpstreamAuth)) {
		return fail(deny(authority.ReasonMalformedHeader, "X-Caracal-Upstream-Authorization holds a credential of Caracal, which no upstream may see."))
	}
	if upgrade := j.request.value(headerUpgrade); upgrade != "" && !strings.EqualFold(upgrade, "websocket") {
		return fail(deny(authority.ReasonMalformedHeader, "The only upgrade that is carried is to websocket."))
	}
	target, err := authority.ParseTarget(raw)
	if err != nil {
		return fail(err)
	}
	j.target = &target
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

// presented reads the id of the mandate that a request names. What is not an id is a mandate that nobody knows.
func (j *judgement) presented(id string) error {
	if id == "" {
		return deny(authority.ReasonMissingMandate, "The request needs the header X-Caracal-Mandate.")
	}
	mandate, err := authority.ParseID[authority.MandateID](id)
	if err != nil {
		return because(authority.ReasonMandateNotFound)
	}
	j.mandate = mandate
	return nil
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
	if err := j.snapshot.verify(first.Chain); err != nil {
		return first, &Denial{
			Reason:  authority.ReasonChainInvalid,
			Message: "A mandate of the chain does not say what was signed.",
		}
	}
	return first, nil
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
	bound      time.Duration // of the whole exchange
	ends       string        // what ends it: its watch, or that it is short
	credential header        // the destination's own; zero when it has none
}

func (s *Service) oblige(j *judgement, r ruling) (obligations, error) {
	settings := j.snapshot.workspace.Settings
	var o obligations
	var err error
	if o.route, err = j.snapshot.route(r.match, r.target); err != nil {
		return o, err
	}
	if o.ends, err = s.ends(o.route, settings, r.match.Destination, j.request); err != nil {
		return o, err
	}
	limits := []time.Duration{seconds(settings.MaxStreamSeconds), r.obligations.MaxDuration}
	if d := r.match.Destination; d != nil {
		limits = append(limits, seconds(d.MaxDurationSeconds))
		if o.credential, err = s.credentialOf(d); err != nil {
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
	if isShort(settings, d, r) {
		if short := envoy.Short(d.MaxDurationSeconds); s.routes(envoy.Way(route, short)) {
			return short, nil
		}
	}
	if !s.routes(envoy.Way(route, envoy.BoundWatched)) {
		return "", because(authority.ReasonRouteNotReady)
	}
	return envoy.BoundWatched, nil
}

// isShort reports whether a request ends by itself before a revocation that comes after it is said to be in effect. What
// asks to become a connection does not end so, whatever its destination says.
func isShort(settings authority.Settings, d *authority.Destination, r *request) bool {
	return d != nil && d.MaxDurationSeconds > 0 && d.MaxDurationSeconds <= min(settings.ShortRequestSeconds, envoy.MaxShort) && r.value(headerUpgrade) == ""
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// credentialOf is the header that carries a destination's secret.
func (s *Service) credentialOf(d *authority.Destination) (header, error) {
	if d.Credential == nil {
		return header{}, nil
	}
	secret, err := s.credentials.secret(d.Credential.Name)
	if err != nil {
		return header{}, fmt.Errorf("destination %s: %w", d.ID, err)
	}
	return header{strings.ToLower(d.Credential.Header), d.Credential.Prefix + secret}, nil
}
