package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/rego"
	"github.com/caracal-gateway/caracal/token"
)

// Snapshot is the state of one workspace at one revision, indexed for decisions. It is immutable and safe for
// concurrent use. It is an authority.Registry of the workspace's mandates and principals; the signatures of mandates are
// left out.
type Snapshot struct {
	workspace   authority.Workspace
	timeline    string
	revision    uint64
	issuedAt    time.Time
	policies    int
	regoVersion authority.RegoVersionID

	state      bundle.State
	members    map[string]bundle.Digest // of the head
	keys       *token.KeySet
	principals shards[authority.PrincipalID, authority.Principal]
	mandates   *mandates
	agentKeys  shards[authority.KeyID, bundle.AgentKey]
	directory  *directory
	policy     *rego.Policy
	tokens     *verified
	clients    *clients
	outsiders  *outsiders
}

// directory is the catalog, and how what is in it is reached.
type directory struct {
	catalog *authority.Catalog
	routes  map[reach]string
	served  map[string]bool // authorities of destinations with an exact host
}

// reach is one port of a destination.
type reach struct {
	destination authority.DestinationID
	port        uint16
}

// NewSnapshot reads a bundle to its end, indexes it and compiles its Rego policy; ctx bounds the time that the policy
// takes. The error says what in the bundle cannot be enforced: a refusal of the bundle, or what its head asks for.
func NewSnapshot(ctx context.Context, r *bundle.Reader) (*Snapshot, error) {
	b, keys := r.Snapshot, r.Keys // the reader itself is not kept
	s := &Snapshot{timeline: b.Timeline, revision: b.Revision, issuedAt: b.IssuedAt, members: r.Members, keys: &keys, tokens: &verified{keys: keys}}
	for _, digest := range r.Members {
		s.state.Add(digest)
	}
	every := func(string) bool { return true }
	if err := s.read(ctx, b.Head, every); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", b.Workspace.ID, err)
	}
	s.principals = newShards[authority.PrincipalID, authority.Principal](r.Count(bundle.KindPrincipal))
	s.agentKeys = newShards[authority.KeyID, bundle.AgentKey](r.Count(bundle.KindAgentKey))
	mandates := newMandatesBuilder(b.Workspace.ID, s.keys, r.Count(bundle.KindMandate))
	for {
		part, err := r.Next()
		if errors.Is(err, io.EOF) {
			s.mandates = mandates.done()
			return s, nil
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot of %s: %w", b.Workspace.ID, err)
		}
		for _, item := range part.Principals {
			s.principals.put(item.Value.ID, item.Value, item.Digest)
			s.state.Add(item.Digest)
		}
		for _, item := range part.Mandates {
			mandates.add(item)
			s.state.Add(item.Digest)
		}
		for _, item := range part.AgentKeys {
			s.agentKeys.put(item.Value.ID, item.Value, item.Digest)
			s.state.Add(item.Digest)
		}
	}
}

// read takes over the members of a head that changed.
func (s *Snapshot) read(ctx context.Context, h bundle.Head, changed func(member string) bool) error {
	if changed(bundle.MemberWorkspace) {
		s.workspace = h.Workspace
	}
	if changed(bundle.MemberActivePolicies) {
		s.policies = h.ActivePolicies
	}
	var err error
	if changed(bundle.MemberClientAuthorities) {
		if s.clients, err = newClients(h.ClientAuthorities); err != nil {
			return err
		}
	}
	if changed(bundle.MemberTrustedIssuers) {
		if s.outsiders, err = newOutsiders(h.TrustedIssuers); err != nil {
			return err
		}
	}
	if changed(bundle.MemberDestinations) {
		if s.directory, err = newDirectory(h.Destinations); err != nil {
			return err
		}
	}
	if changed(bundle.MemberRego) {
		return s.compile(ctx, h.Rego)
	}
	return nil
}

// compile makes a version the policy that decisions consult; nil is none.
func (s *Snapshot) compile(ctx context.Context, version *authority.RegoVersion) error {
	var source rego.Source
	s.regoVersion = ""
	if version != nil {
		source = rego.Source{Modules: version.Modules, Data: version.Data}
		s.regoVersion = version.ID
	}
	var err error
	if s.policy, err = rego.Compile(ctx, source); err != nil {
		return fmt.Errorf("compile Rego policy: %w", err)
	}
	return nil
}

// open denies whatever is asked of a workspace that is deleted.
func (s *Snapshot) open() error {
	if s.workspace.State() == authority.WorkspaceDeleted {
		return because(authority.ReasonWorkspaceDeleted)
	}
	return nil
}

func newDirectory(destinations []authority.Destination) (*directory, error) {
	d := &directory{routes: make(map[reach]string), served: make(map[string]bool)}
	var err error
	if d.catalog, err = authority.NewCatalog(destinations); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	for _, destination := range destinations {
		for _, port := range destination.Ports {
			d.routes[reach{destination.ID, port}] = bundle.Upstream(destination, port).Route()
			target := authority.Target{Scheme: schemeOf(destination), Host: destination.Host, Port: port}
			d.served[target.Authority()] = true
		}
	}
	return d, nil
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
		if target.Scheme == "http" {
			return envoy.RoutePublicPlain, nil
		}
		return envoy.RoutePublicTLS, nil
	}
	key, ok := s.directory.routes[reach{match.Destination.ID, target.Port}]
	if !ok {
		return "", deny(authority.ReasonTargetNotAllowed, "Port %d is not one of the destination's.", target.Port)
	}
	return key, nil
}

// verify checks the signatures of a chain of the snapshot's mandates, each of them once in the life of the key set.
func (s *Snapshot) verify(chain []authority.Mandate) error {
	for _, m := range chain {
		if err := s.mandates.verify(m.ID); err != nil {
			return err
		}
	}
	return nil
}

// Mandate finds a mandate of the workspace.
func (s *Snapshot) Mandate(id authority.MandateID) (authority.Mandate, bool) {
	return s.mandates.get(id)
}

// Principal finds a principal of the workspace.
func (s *Snapshot) Principal(id authority.PrincipalID) (authority.Principal, bool) {
	return s.principals.get(id)
}

// Workspace is the one workspace that the snapshot is of.
func (s *Snapshot) Workspace() authority.Workspace { return s.workspace }

// Timeline is the one that the revision belongs to.
func (s *Snapshot) Timeline() string { return s.timeline }

// Revision is the workspace's, which the snapshot enforces.
func (s *Snapshot) Revision() uint64 { return s.revision }

// Digest is that of the state, by which both planes know it.
func (s *Snapshot) Digest() bundle.Digest { return s.state.Sum() }

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
