package extauthz

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/rego"
	"github.com/caracal-gateway/caracal/token"
)

// Snapshot is the state of one workspace at one revision, indexed for decisions. It is immutable and safe for
// concurrent use. It is an authority.Registry of the workspace's mandates and principals.
type Snapshot struct {
	workspace   authority.Workspace
	timeline    string
	revision    uint64
	issuedAt    time.Time
	policies    int
	regoVersion authority.RegoVersionID

	keys       token.KeySet
	principals map[authority.PrincipalID]authority.Principal
	mandates   map[authority.MandateID]authority.Mandate
	agentKeys  map[authority.KeyID]bundle.AgentKey
	catalog    *authority.Catalog
	routes     map[reach]string
	served     map[string]bool // authorities of destinations with an exact host
	policy     *rego.Policy
	tokens     verified
	clients    *clients
	outsiders  *outsiders
	signatures sync.Map // mandate id → signature, each verified once
}

// reach is one port of a destination.
type reach struct {
	destination authority.DestinationID
	port        uint16
}

// NewSnapshot indexes an opened bundle and compiles its Rego policy; ctx bounds the time that this takes. The error
// says what in the bundle cannot be enforced.
func NewSnapshot(ctx context.Context, b bundle.Snapshot, keys token.KeySet) (*Snapshot, error) {
	s := &Snapshot{
		workspace: b.Workspace, timeline: b.Timeline, revision: b.Revision, issuedAt: b.IssuedAt, policies: b.ActivePolicies,
		keys: keys, tokens: verified{keys: keys},
		principals: make(map[authority.PrincipalID]authority.Principal, len(b.Principals)),
		mandates:   make(map[authority.MandateID]authority.Mandate, len(b.Mandates)),
		agentKeys:  make(map[authority.KeyID]bundle.AgentKey, len(b.AgentKeys)),
		routes:     make(map[reach]string),
		served:     make(map[string]bool),
	}
	if keys.Workspace != b.Workspace.ID {
		return nil, fmt.Errorf("snapshot of %s: the key set is of %s", b.Workspace.ID, keys.Workspace)
	}
	for _, p := range b.Principals {
		s.principals[p.ID] = p
	}
	for _, m := range b.Mandates {
		s.mandates[m.ID] = m
	}
	for _, k := range b.AgentKeys {
		s.agentKeys[k.ID] = k
	}
	var err error
	if s.clients, err = newClients(b.ClientAuthorities); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", b.Workspace.ID, err)
	}
	if s.outsiders, err = newOutsiders(b.TrustedIssuers); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", b.Workspace.ID, err)
	}
	if err := s.indexDestinations(b.Destinations); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", b.Workspace.ID, err)
	}
	var source rego.Source
	if b.Rego != nil {
		source = rego.Source{Modules: b.Rego.Modules, Data: b.Rego.Data}
		s.regoVersion = b.Rego.ID
	}
	if s.policy, err = rego.Compile(ctx, source); err != nil {
		return nil, fmt.Errorf("snapshot of %s: compile Rego policy: %w", b.Workspace.ID, err)
	}
	return s, nil
}

// open denies whatever is asked of a workspace that is deleted.
func (s *Snapshot) open() error {
	if s.workspace.State() == authority.WorkspaceDeleted {
		return because(authority.ReasonWorkspaceDeleted)
	}
	return nil
}

func (s *Snapshot) indexDestinations(destinations []authority.Destination) error {
	var err error
	if s.catalog, err = authority.NewCatalog(destinations); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	for _, d := range destinations {
		for _, port := range d.Ports {
			if _, double := s.routes[reach{d.ID, port}]; double {
				return fmt.Errorf("catalog: two destinations have the id %q", d.ID)
			}
			s.routes[reach{d.ID, port}] = bundle.Upstream(d, port).Route()
			target := authority.Target{Scheme: schemeOf(d), Host: d.Host, Port: port}
			s.served[target.Authority()] = true
		}
	}
	return nil
}

func schemeOf(d authority.Destination) string {
	if d.TLS == authority.TLSNone {
		return "http"
	}
	return "https"
}

// route is the key of the route by which a request reaches its target.
func (s *Snapshot) route(match authority.Match, target authority.Target) (string, error) {
	if match.Destination == nil {
		if target.Scheme != "https" {
			return "", deny(authority.ReasonTargetNotAllowed, "http:// is for destinations that ask for plain text.")
		}
		return envoy.RoutePublicTLS, nil
	}
	key, ok := s.routes[reach{match.Destination.ID, target.Port}]
	if !ok {
		return "", deny(authority.ReasonTargetNotAllowed, "Port %d is not one of the destination's.", target.Port)
	}
	return key, nil
}

// verify checks the signatures of a chain of mandates, each of them once in the life of the snapshot.
func (s *Snapshot) verify(chain []authority.Mandate) error {
	for _, m := range chain {
		known, ok := s.signatures.Load(m.ID)
		if !ok {
			known, _ = s.signatures.LoadOrStore(m.ID, signature{s.keys.VerifyMandate(m)})
		}
		if err := known.(signature).err; err != nil {
			return err
		}
	}
	return nil
}

// signature is what came of verifying one.
type signature struct{ err error }

// Mandate finds a mandate of the workspace.
func (s *Snapshot) Mandate(id authority.MandateID) (authority.Mandate, bool) {
	m, ok := s.mandates[id]
	return m, ok
}

// Principal finds a principal of the workspace.
func (s *Snapshot) Principal(id authority.PrincipalID) (authority.Principal, bool) {
	p, ok := s.principals[id]
	return p, ok
}

// Workspace is the one workspace that the snapshot is of.
func (s *Snapshot) Workspace() authority.Workspace { return s.workspace }

// Timeline is the one that the revision belongs to.
func (s *Snapshot) Timeline() string { return s.timeline }

// Revision is the workspace's, which the snapshot enforces.
func (s *Snapshot) Revision() uint64 { return s.revision }

// IssuedAt is when the control plane sealed the bundle.
func (s *Snapshot) IssuedAt() time.Time { return s.issuedAt }

// ActivePolicies is the number of active authority policies that the workspace has.
func (s *Snapshot) ActivePolicies() int { return s.policies }

// dials reports whether a request to the target by way of a destination would connect to one of these listeners.
func dials(d *authority.Destination, target authority.Target, listeners []netip.AddrPort) bool {
	if d == nil {
		return false // Envoy connects to public addresses only, and refuses the rest after resolution
	}
	port := target.Port
	var exact netip.Addr
	if d.ConnectTo != "" {
		to, err := netip.ParseAddrPort(d.ConnectTo)
		if err == nil {
			exact, port = to.Addr(), to.Port()
		} else if _, text, ok := strings.Cut(d.ConnectTo, ":"); ok {
			number, _ := strconv.ParseUint(text, 10, 16)
			port = uint16(number)
		}
	}
	for _, l := range listeners {
		if l.Port() == port && reaches(d.Addresses, exact, l.Addr()) {
			return true
		}
	}
	return false
}

// reaches reports whether what is dialled, one address or some within ranges, can be a listener's address. A listener
// on every address is reached by loopback too, and by addresses that only the host knows: those count as its own.
func reaches(ranges []netip.Prefix, exact, listener netip.Addr) bool {
	if exact.IsValid() {
		return exact == listener || listener.IsUnspecified()
	}
	for _, r := range ranges {
		if r.Contains(listener) || listener.IsUnspecified() {
			return true
		}
	}
	return false
}
