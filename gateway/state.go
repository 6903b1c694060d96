package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Status is the gateway's condition in one word.
type Status string

// A gateway is ok while it enforces a bundle under a lease and the control plane is connected; degraded while it enforces
// the last good bundle but something is wrong; fenced while it denies everything.
const (
	StatusOK       Status = "ok"
	StatusDegraded Status = "degraded"
	StatusFenced   Status = "fenced"
)

// Health is what GET /health answers. The members of EnterpriseSync and their order are fixed.
type Health struct {
	Status         Status         `json:"status"`
	EnterpriseSync EnterpriseSync `json:"enterprise_sync"`
	// Proxy is the proxy port; nil where the gateway has none.
	Proxy *ProxyPort `json:"proxy,omitempty"`
	// Reasons say why the status is not ok. Anyone who reaches the port reads them, so that causes, which hold addresses
	// and names of certificates, are for the log only.
	Reasons []string `json:"reasons,omitempty"`
	causes  []string // the reasons with their causes
	// Refused says that the control plane refuses this gateway, which waiting does not mend.
	Refused bool `json:"refused,omitempty"`
	// unready says that no requests should come, though they would be decided.
	unready bool
}

// ProxyPort is what a client of the proxy port finds there.
type ProxyPort struct {
	Port uint16 `json:"port"`
	// Inspects says that TLS can be seen inside. While it cannot, the reasons say so.
	Inspects bool `json:"inspects"`
}

// EnterpriseSync is the state of the stream to the control plane.
type EnterpriseSync struct {
	Connected bool `json:"connected"`
	// LastSync is when the gateway last knew that it enforces the newest revision, in RFC 3339 with whole seconds
	// of UTC; null before the first time.
	LastSync       *string `json:"last_sync"`
	PoliciesSynced int     `json:"policies_synced"`
}

// maxSkew is by how much the host's clock may be off the control plane's.
const maxSkew = 2 * time.Second

// state is what the parts of a gateway process know about each other.
type state struct {
	now   func() time.Time
	log   *slog.Logger
	envoy func() verdict
	holds func() bool // whether the lease covers the present
	skew  func() time.Duration
	// proxyPort is the number of the proxy port; 0 for none.
	proxyPort uint16
	// uninspected says why TLS cannot be seen inside; empty where it can, or where nobody asks for it.
	uninspected func() string
	interval    time.Duration

	mu       sync.Mutex
	online   bool
	fault    string // why the control plane is not connected
	rejected bool   // it refuses this gateway
	lastSync time.Time
	timeline string
	revision uint64 // that decisions enforce; 0 without a bundle
	policies int
	refusal  string        // why the newest bundle was not applied
	covered  bool          // there was a lease when it was last looked at
	lapsed   time.Time     // when there was none first; zero before the first lease
	withhold string        // the control plane's words about why it grants none
	nextTry  time.Time     // to be granted one; zero before the first
	logged   Status        // of the last line
	advanced chan struct{} // closed and replaced when the revision advances
}

func newState(interval time.Duration, now func() time.Time, envoy func() verdict, holds func() bool, log *slog.Logger) *state {
	return &state{now: now, log: log, envoy: envoy, holds: holds, skew: func() time.Duration { return 0 }, uninspected: func() string { return "" }, interval: interval, fault: "not connected yet", advanced: make(chan struct{})}
}

// enforce notes the bundle that decisions are taken on from now on.
func (s *state) enforce(timeline string, revision uint64, policies int) {
	s.change(func() {
		s.timeline, s.revision, s.policies, s.refusal = timeline, revision, policies, ""
		close(s.advanced)
		s.advanced = make(chan struct{})
	})
}

func (s *state) enforced() (timeline string, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeline, s.revision
}

func (s *state) connected() { s.change(func() { s.online, s.fault, s.rejected = true, "", false }) }

func (s *state) disconnected(cause error) {
	s.change(func() { s.online, s.fault, s.rejected = false, plain(cause), errors.Is(cause, ErrRefused) })
}

func (s *state) refused(revision uint64, cause error) {
	s.change(func() { s.refusal = fmt.Sprintf("bundle %d: %v", revision, cause) })
}

// leased notes that a lease was granted, withheld that none was and why. look is for when one may have ended.
func (s *state) leased() { s.change(func() { s.withhold = ""; s.cover() }) }

func (s *state) withheld(message string) { s.change(func() { s.withhold = message; s.cover() }) }

func (s *state) look() { s.change(s.cover) }

// cover notes whether there is a lease, and logs it when that has changed. The caller holds the lock.
func (s *state) cover() {
	before := s.covered
	s.covered = s.holds()
	switch {
	case before && !s.covered:
		s.lapsed = s.now()
		s.log.Warn("the lease has lapsed: every request is denied, and live streams end", "withheld", s.withhold)
	case !before && s.covered:
		s.log.Info("a lease is held")
	}
}

// retry notes how long it is until the next try to be granted a lease.
func (s *state) retry(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextTry = s.now().Add(wait)
}

// synced notes which revision the control plane is at. Only while that is enforced, the gateway is in step.
func (s *state) synced(revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision == revision && s.refusal == "" {
		s.lastSync = s.now()
	}
}

// change applies a change and logs the state if its summary differs.
func (s *state) change(apply func()) {
	s.mu.Lock()
	before := s.summary()
	apply()
	after := s.summary()
	s.mu.Unlock()
	if before != after {
		s.Log()
	}
}

// envoyAnswered logs the state if what Envoy made of its configuration has changed the status.
func (s *state) envoyAnswered() {
	status := s.Health().Status
	s.mu.Lock()
	changed := status != s.logged
	s.mu.Unlock()
	if changed {
		s.Log()
	}
}

// summary is what a change of state is: one of these differs.
func (s *state) summary() [4]string {
	return [4]string{fmt.Sprint(s.online, s.rejected), fmt.Sprint(s.revision), s.refusal, fmt.Sprint(s.covered)}
}

// Log writes the line that operators search for.
func (s *state) Log() {
	h := s.Health()
	s.mu.Lock()
	revision := s.revision
	s.logged = h.Status
	s.mu.Unlock()
	last := "never"
	if h.EnterpriseSync.LastSync != nil {
		last = *h.EnterpriseSync.LastSync
	}
	s.log.Info("enterprise_sync", "status", h.Status, "connected", h.EnterpriseSync.Connected, "last_sync", last,
		"policies_synced", h.EnterpriseSync.PoliciesSynced, "revision", revision, "reasons", h.causes)
}

// Health is the present condition.
func (s *state) Health() Health {
	envoy := s.envoy()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Health{Status: StatusOK, EnterpriseSync: EnterpriseSync{Connected: s.online, PoliciesSynced: s.policies}}
	if !s.lastSync.IsZero() {
		at := stamp(s.lastSync)
		h.EnterpriseSync.LastSync = &at
	}
	note := func(status Status, reason, cause string) {
		if h.Status != StatusFenced {
			h.Status = status
		}
		h.Reasons = append(h.Reasons, reason)
		if cause != "" {
			reason += ": " + cause
		}
		h.causes = append(h.causes, reason)
	}
	if s.revision == 0 {
		note(StatusFenced, "no bundle yet: every request is denied", "")
	} else if !envoy.forwards {
		note(StatusFenced, "envoy has no route to any target yet: every request is denied", "")
	}
	if !s.holds() {
		note(StatusFenced, s.uncovered(), s.withhold)
	}
	if skew := s.skew(); skew > maxSkew {
		// Decisions go by the control plane's time all the same; leases end early, and records of the host are misdated.
		h.unready = true
		note(StatusDegraded, "the clock of this host is off the control plane's by more than "+maxSkew.String(), skew.Round(time.Millisecond).String())
	}
	why := s.uninspected()
	if s.proxyPort != 0 {
		h.Proxy = &ProxyPort{Port: s.proxyPort, Inspects: why == ""}
	}
	if why != "" {
		note(StatusDegraded, "TLS cannot be seen inside: tunnels that are to be looked into are refused", why)
	}
	switch {
	case s.rejected:
		h.Refused = true
		note(StatusDegraded, "the control plane refuses this gateway, which waiting does not mend: its log says what does", s.fault)
	case !s.online:
		note(StatusDegraded, "the control plane is not connected", s.fault)
	}
	if s.refusal != "" {
		note(StatusDegraded, "the newest bundle is refused", s.refusal)
	}
	if envoy.refusal != "" {
		note(StatusDegraded, "envoy refused its configuration", envoy.refusal)
	} else if !envoy.current {
		note(StatusDegraded, "envoy has not accepted its configuration yet", "")
	}
	return h
}

// uncovered says since when there is no lease, and when the control plane is asked for one next. The caller holds the
// lock.
func (s *state) uncovered() string {
	reason := "no lease yet: every request is denied"
	if !s.lapsed.IsZero() {
		reason = "no lease since " + stamp(s.lapsed) + ": every request is denied"
	}
	switch {
	case s.nextTry.After(s.now()):
		reason += "; the next try is at " + stamp(s.nextTry)
	case !s.nextTry.IsZero():
		reason += "; the control plane is being asked"
	}
	return reason
}

// stamp is an instant in RFC 3339 with whole seconds of UTC.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05Z") }

// Await reports true once decisions enforce at least the revision, and false when done is closed before.
func (s *state) Await(done <-chan struct{}, revision uint64) bool {
	for {
		s.mu.Lock()
		reached, advanced := s.revision >= revision, s.advanced
		s.mu.Unlock()
		if reached {
			return true
		}
		select {
		case <-done:
			return false
		case <-advanced:
		}
	}
}
