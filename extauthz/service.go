package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/lease"
	"github.com/caracal-gateway/caracal/token"
)

// Config is what a Service needs. Every field but Certificates, Inspects, Alarm, Listeners and EachCaller must be set.
type Config struct {
	Clock       *Clock
	Recorder    Recorder
	Credentials *Credentials
	// Routes reports whether Envoy has accepted a way, which is named by [envoy.Way]. A decision chooses no other.
	Routes func(way string) bool
	// Certificates reports whether Envoy has the client certificate with a name, to show to upstreams; nil is for none.
	Certificates func(name string) bool
	// Inspects reports whether certificates can be made for what comes inside of tunnels. While they cannot, no tunnel is
	// opened that is to be looked into. Nil is for a service whose certificates are somebody else's to make.
	Inspects func() bool
	// Read reads the host's clocks, which the lease is held against: [ReadClocks].
	Read func() lease.Reading
	// Alarm makes a timer on the clock that Read reads; nil is for [NewAlarm], which goes with [ReadClocks].
	Alarm func() (Alarm, error)
	// Listeners are the gateway's own ports. No request is sent to them.
	Listeners []netip.AddrPort
	// EachCaller is what one caller may have live at a time; the zero value is for a quarter of what all may.
	EachCaller Room
	Log        *slog.Logger
}

// Service decides. It denies everything, health and the like apart, until it has a snapshot to enforce, and whenever it
// has no lease. Its methods are safe for concurrent use.
type Service struct {
	authv3.UnimplementedAuthorizationServer
	clock       *Clock
	recorder    Recorder
	credentials *Credentials
	routes      func(way string) bool
	shows       func(certificate string) bool
	inspects    func() bool
	listeners   []netip.AddrPort
	read        func() lease.Reading
	alarm       func() (Alarm, error)
	log         *slog.Logger

	enforcing sync.Mutex // one new state at a time
	current   atomic.Pointer[enforced]
	watches   *watches
	tender    chan struct{} // holds a token when something ends sooner than was known
	decisions atomic.Uint64
}

// New makes a Service without a snapshot.
func New(c Config) *Service {
	s := &Service{
		clock: c.Clock, recorder: c.Recorder, credentials: c.Credentials, routes: c.Routes, shows: c.Certificates, inspects: c.Inspects, listeners: c.Listeners,
		read: c.Read, alarm: c.Alarm, log: c.Log, watches: newWatches(c.EachCaller), tender: make(chan struct{}, 1),
	}
	if s.shows == nil {
		s.shows = func(string) bool { return false }
	}
	if s.alarm == nil {
		s.alarm = NewAlarm
	}
	s.current.Store(&enforced{superseded: make(chan struct{})})
	return s
}

// checkTime bounds one check. It is less than Envoy waits, so that the denial for having taken too long is ours.
const checkTime = envoy.CheckTimeout * 4 / 5

// errPanic stands for a bug; what it was is in the log.
var errPanic = errors.New("panic")

// Check answers Envoy. The error is always nil: an error would cost the caller the reason and the record.
func (s *Service) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	now := s.clock.Now()
	j := &judgement{id: authority.NewID[authority.DecisionID](), at: now, shown: now}
	var permit Permit
	err := s.guard(func() (err error) {
		if j.request, err = readRequest(check); err != nil {
			return err
		}
		if j.request.asked, err = s.classify(j.request); err != nil {
			return err
		}
		if j.request.asked == endpointSelf {
			if err := s.guardAgentAPI(j.request, j.at); err != nil {
				return err
			}
			permit = permitSelf(j.request, s.holderOf(j.request, j.at))
			return nil
		}
		permit, err = s.decide(ctx, j)
		return err
	})
	if err == nil && j.request.asked == endpointSelf {
		return s.passToSelf(j, permit), nil
	}
	return s.conclude(j, permit, err), nil
}

// decide judges a request until it has done so from the state that is enforced at the end, under a lease that holds then.
func (s *Service) decide(ctx context.Context, j *judgement) (Permit, error) {
	if err := s.AwaitStates(ctx, j.request.value(headerState)); err != nil {
		return Permit{}, err
	}
	for ctx.Err() == nil {
		state := s.current.Load()
		j.snapshot, j.findings = state.snapshot, findings{}
		if j.snapshot == nil {
			return Permit{}, errNoState()
		}
		permit, watched, err := s.permit(ctx, j)
		if late := ctx.Err(); late != nil && err == nil {
			return Permit{}, fmt.Errorf("decide: %w", late)
		}
		switch verdict, now := s.pass(state.number); verdict {
		case lease.Passes:
			if err == nil && watched != nil {
				watched.number = state.number
				err = s.watches.expect(watched, now.Boot)
			}
			if err != nil {
				return Permit{}, err
			}
			return permit, nil
		case lease.Superseded:
		default:
			return Permit{}, because(authority.ReasonLeaseExpired)
		}
	}
	return Permit{}, errRestless()
}

func errNoState() error {
	return deny(authority.ReasonNoDecision, "The gateway has no state to decide from yet.")
}

func errRestless() error {
	return deny(authority.ReasonNoDecision, "The gateway's state changed faster than it could decide.")
}

// holderOf is whom the client certificate of a request identifies; empty for nobody.
func (s *Service) holderOf(r *request, now time.Time) authority.PrincipalID {
	snapshot := s.Snapshot()
	if snapshot == nil {
		return ""
	}
	id, _ := snapshot.clients.holder(r.peer, now)
	return id
}

// passToSelf lets a request through to the gateway process. It is no decision about authority, so it is not recorded.
func (s *Service) passToSelf(j *judgement, permit Permit) *authv3.CheckResponse {
	answer := refuse(denialOf(errPanic), j.id, j.request)
	accept(answer, permit)
	answer.DynamicMetadata = beneath(map[string]string{metadataMode: j.request.mode()})
	return answer
}

// conclude records a decision and writes its answer. What cannot be recorded or written is denied.
func (s *Service) conclude(j *judgement, permit Permit, err error) *authv3.CheckResponse {
	if err == nil && !permit.whole() {
		err = fmt.Errorf("decision %s: the permit is not whole", j.id)
	}
	s.decisions.Add(1)
	denial := s.explain(j, err)
	if failed := s.guard(func() error {
		s.recorder.Record(j.event(authority.EventAllowed, denial))
		return nil
	}); failed != nil {
		denial = denialOf(failed)
	}
	var answer *authv3.CheckResponse
	if denial != nil {
		answer = refuse(denial, j.id, j.request)
		j.tellSelected(answer.GetDeniedResponse())
	} else {
		answer = refuse(denialOf(errPanic), j.id, j.request)
		accept(answer, permit)
	}
	values := map[string]string{
		envoy.MetadataDecisionID: string(j.id),
		metadataPrincipal:        string(j.caller),
		metadataMandate:          string(j.mandate),
	}
	if j.request != nil {
		values[metadataMode] = j.request.mode()
	}
	answer.DynamicMetadata = beneath(values)
	return answer
}

// explain names the denial that an error is, nil for none, and logs what the caller is not told.
func (s *Service) explain(j *judgement, err error) *Denial {
	if err == nil {
		return nil
	}
	denial := denialOf(err)
	if denial.Reason == authority.ReasonInternal && !errors.Is(err, errPanic) {
		s.log.Error("decision failed", "decision_id", j.id, "error", err)
	}
	return denial
}

// guard turns a panic into an error.
func (s *Service) guard(step func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("decision panicked", "cause", cause, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return step()
}

// classify finds the endpoint of a request. A request in absolute form for one of the destinations looks like one to
// this gateway, but is not meant for it.
func (s *Service) classify(r *request) (endpoint, error) {
	asked, err := classify(r)
	if err != nil {
		return asked, err
	}
	if asked == endpointInside {
		r.within, err = s.watches.tunnel(r.outer)
		return asked, err
	}
	proxied := asked == endpointForward || asked == endpointConnect || asked == endpointForeign
	if snapshot := s.Snapshot(); !proxied && snapshot != nil && snapshot.directory.served[r.host] {
		return endpointNone, deny(authority.ReasonUnknownEndpoint, "%s is a destination, not this gateway.", r.host)
	}
	return asked, nil
}

// Credential is what a caller of the gateway's own endpoints shows.
type Credential struct {
	// Bearer is an agent's API key or a token; empty for none.
	Bearer string
	// Address is where the request comes from, which an API key may be bound to.
	Address netip.Addr
	// Certificate is the client certificate of the connection, as the check of the same request found it; empty for none.
	Certificate authority.Thumbprint
	// Holder is whom the certificate identifies, as the same check found it; empty for nobody.
	Holder authority.PrincipalID
}

// Caller is a principal that has shown a credential.
type Caller struct {
	authority.Principal
	// Mandate is the only one that the credential is good for presenting; empty for one that is good for all that the
	// principal may do.
	Mandate authority.MandateID
}

// Identify finds the principal that shows a credential. The error is a *Denial.
func (s *Service) Identify(c Credential) (Caller, error) {
	snapshot, now := s.Snapshot(), s.clock.Now()
	if snapshot == nil {
		return Caller{}, errNoState()
	}
	if err := s.covered(); err != nil {
		return Caller{}, err
	}
	caller, err := snapshot.identify(c, now)
	if err != nil {
		return Caller{}, err
	}
	if caller.Suspended {
		return Caller{}, deny(authority.ReasonSuspended, "The principal is suspended.")
	}
	return caller, nil
}

func (s *Snapshot) identify(c Credential, now time.Time) (Caller, error) {
	if c.Bearer == "" && c.Holder != "" {
		principal, err := s.known(c.Holder)
		return Caller{Principal: principal}, err
	}
	if c.Bearer == "" {
		return Caller{}, deny(authority.ReasonAuthRequired, "The request needs an API key or an access token.")
	}
	if key, err := token.ParseAPIKey(c.Bearer); err == nil {
		principal, err := s.keyBearer(key, c.Address, now)
		if err == nil && c.Holder != "" && c.Holder != principal.ID {
			return Caller{}, errNotIdentified()
		}
		return Caller{Principal: principal}, err
	}
	claimed, err := s.claimOf(c.Bearer, now)
	if err != nil {
		return Caller{}, err
	}
	another := claimed.confirmation == nil && c.Holder != "" && c.Holder != claimed.subject
	if another || !claimed.confirmation.MetBy(c.Certificate) {
		return Caller{}, errNotIdentified()
	}
	principal, err := s.known(claimed.subject)
	return Caller{principal, claimed.mandate}, err
}
