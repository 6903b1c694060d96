package authority

import (
	"slices"
	"strconv"
	"strings"
)

const maxDestinations = 2000

// Catalog maps requests to resources and actions. It is immutable and safe for concurrent use.
type Catalog struct {
	exact  map[string][]*catalogEntry // by host
	suffix map[string][]*catalogEntry // by what stands behind `*.`
	base   map[string]*catalogEntry   // by base path
}

type catalogEntry struct {
	destination *Destination
	rules       *ruleTree         // nil when the destination has none
	resources   []ResourcePattern // those of the rules; they cover what the rules map
}

// Match is what a request is: one action on one resource, and how it gets there.
type Match struct {
	Destination *Destination // nil for traffic without a destination; shared, not to be changed
	Rule        *Rule        // nil where no rule maps it; shared, not to be changed
	Resource    Resource
	Action      Action
}

// NewCatalog validates the destinations and refuses two that serve the same host on the same port, or under the same base
// path. The error is an
// invalid_request whose Field begins with the destination's index, such as [3].
func NewCatalog(destinations []Destination) (*Catalog, error) {
	if len(destinations) > maxDestinations {
		return nil, Invalid("", "has more than %d destinations", maxDestinations)
	}
	c := &Catalog{exact: make(map[string][]*catalogEntry), suffix: make(map[string][]*catalogEntry), base: make(map[string]*catalogEntry)}
	for i, d := range destinations {
		entry, err := newCatalogEntry(d)
		if err != nil {
			return nil, Within(index(i), err)
		}
		if err := c.add(entry); err != nil {
			return nil, Within(index(i), err)
		}
	}
	return c, nil
}

func newCatalogEntry(d Destination) (*catalogEntry, error) {
	if err := d.validateReach(); err != nil {
		return nil, err
	}
	d.Rules = slices.Clone(d.Rules)
	entry := &catalogEntry{destination: &d}
	if len(d.Rules) == 0 {
		return entry, nil
	}
	var err error
	entry.rules, err = compileRules(d.Rules)
	for _, rule := range d.Rules {
		entry.resources = append(entry.resources, rule.pattern())
	}
	return entry, err
}

func (c *Catalog) add(entry *catalogEntry) error {
	index, host := c.exact, entry.destination.Host
	if suffix, ok := strings.CutPrefix(host, "*."); ok {
		index, host = c.suffix, suffix
	}
	for _, other := range index[host] {
		for _, port := range entry.destination.Ports {
			if slices.Contains(other.destination.Ports, port) {
				return Invalid("host", "%s on port %d is already the destination %s", entry.destination.Host, port, other.destination.describe())
			}
		}
	}
	if base := entry.destination.BasePath; base != "" {
		if other := c.base[base]; other != nil {
			return Invalid("base_path", "%s is already that of the destination %s", base, other.destination.describe())
		}
		c.base[base] = entry
	}
	index[host] = append(index[host], entry)
	return nil
}

// Resolve says which action on which resource a request is. The destination is the one with the exact host, else the
// one with the longest suffix; a host that has a destination is reached on its ports and over its transport only. Then
// the most specific rule decides: segment by segment a literal before a variable before `**`. A destination with rules
// is closed. Without rules the resource is host:<host>:<port>/<path>, GET, HEAD and OPTIONS read and the rest write.
//
// An error is an *Error with the reason target_not_allowed, malformed_request or, for an escaped slash that the
// destination does not keep, invalid_target_url. A path's escapes make no difference to what it is: `/a@b` and
// `/a%40b` are the same resource.
func (c *Catalog) Resolve(method string, t Target) (Match, error) {
	if !isToken(method) {
		return Match{}, &Error{Code: CodeInvalid, Reason: ReasonMalformedRequest, Message: "the method is malformed"}
	}
	if neverForwarded(method) {
		return Match{}, Refused(ReasonTargetNotAllowed, "the method %s is not forwarded", method)
	}
	segments := t.Segments()
	if segments == nil {
		return Match{}, invalidTarget("the path is malformed")
	}
	entry, err := c.lookup(t)
	if err != nil {
		return Match{}, err
	}
	if t.hasEncodedSlash() && (entry == nil || entry.destination.EncodedSlash != EncodedSlashKeep) {
		return Match{}, invalidTarget("the path has an escaped slash, which the destination does not keep")
	}
	if entry == nil {
		return unmapped(nil, method, t, segments)
	}
	if entry.rules == nil {
		return unmapped(entry.destination, method, t, segments)
	}
	rule, resource, action, err := entry.rules.resolve(method, segments)
	if err != nil {
		return Match{}, err
	}
	return Match{Destination: entry.destination, Rule: rule, Resource: resource, Action: action}, nil
}

// Under gives the target that a request to a path below a base path of the gateway means, and reports whether there is a
// destination with that base path. The rest is what follows the base path, with its slash and query.
//
// An error is an *Error with the reason invalid_target_url.
func (c *Catalog) Under(base, rest string) (Target, bool, error) {
	entry := c.base[base]
	if entry == nil {
		return Target{}, false, nil
	}
	d := entry.destination
	scheme := "https"
	if d.TLS == TLSNone {
		scheme = "http"
	}
	if rest != "" && rest[0] != '/' && rest[0] != '?' {
		return Target{}, true, invalidTarget("a slash follows the base path")
	}
	target, err := ParseTarget(scheme + "://" + Target{Scheme: scheme, Host: d.Host, Port: d.Ports[0]}.Authority() + rest)
	return target, true, err
}

// Through says what becomes of a CONNECT to a host and port: how the tunnel is treated, and the destination that says so,
// which is nil where there is none.
//
// An error is an *Error with the reason target_not_allowed.
func (c *Catalog) Through(host string, port uint16) (Tunnel, *Destination, error) {
	entry, err := c.serving(host, port)
	if err != nil {
		return TunnelRefuse, nil, err
	}
	if entry == nil {
		return TunnelInspect, nil, nil
	}
	switch d := entry.destination; d.Tunnel {
	case "", TunnelInspect:
		return TunnelInspect, d, nil
	case TunnelPassthrough:
		return TunnelPassthrough, d, nil
	default:
		return TunnelRefuse, d, Refused(ReasonTargetNotAllowed, "the destination has no tunnels")
	}
}

// Ports that are reached without a destination, and the scheme of each. Any other has to be a destination's.
const (
	portTLS   = 443
	portPlain = 80
)

// lookup finds the entry that serves a target; nil when its host has no destination.
func (c *Catalog) lookup(t Target) (*catalogEntry, error) {
	entry, err := c.serving(t.Host, t.Port)
	switch {
	case err != nil:
		return nil, err
	case entry == nil && t.Port != defaultPort(t.Scheme):
		return nil, Refused(ReasonTargetNotAllowed, "port %d is not reached over %s:// without a destination that says so", t.Port, t.Scheme)
	case entry != nil && (entry.destination.TLS == TLSNone) != (t.Scheme == "http"):
		return nil, Refused(ReasonTargetNotAllowed, "the destination is not reached over %s://", t.Scheme)
	}
	return entry, nil
}

// entries are those of a host; none when it has no destination.
func (c *Catalog) entries(host string) []*catalogEntry {
	entries := c.exact[host]
	for rest := host; entries == nil; {
		_, parent, more := strings.Cut(rest, ".")
		if !more {
			break
		}
		entries, rest = c.suffix[parent], parent
	}
	return entries
}

// serving finds the entry that serves a port of a host; nil when the host has no destination and the port needs none.
func (c *Catalog) serving(host string, port uint16) (*catalogEntry, error) {
	entries := c.entries(host)
	if entries == nil {
		if port != portTLS && port != portPlain {
			return nil, Refused(ReasonTargetNotAllowed, "port %d is not reached without a destination that says so", port)
		}
		return nil, nil
	}
	for _, entry := range entries {
		if slices.Contains(entry.destination.Ports, port) {
			return entry, nil
		}
	}
	return nil, Refused(ReasonTargetNotAllowed, "port %d is not one of the destination's", port)
}

// unmapped is the resource and action of a request that no rule maps.
func unmapped(d *Destination, method string, t Target, segments []string) (Match, error) {
	var b strings.Builder
	b.WriteString("host:" + t.Host + ":" + strconv.Itoa(int(t.Port)))
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(encodeSegment(s))
	}
	resource := b.String()
	if problem := resourceProblem(resource, false); problem != "" {
		return Match{}, Refused(ReasonTargetNotAllowed, "the URL does not name a resource: %s", problem)
	}
	action := Write
	switch method {
	case "GET", "HEAD", "OPTIONS":
		action = Read
	}
	return Match{Destination: d, Resource: Resource(resource), Action: action}, nil
}

// isToken reports whether s is an HTTP token of at most 32 bytes.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != "" && len(s) <= 32
}
