package authority

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxDifferences = 2_000
	maxCompared    = 200_000
)

// Difference is requests of one kind that one state of the catalog and another take for different things.
type Difference struct {
	// Methods are those that differ alike; `*` stands for every one that nothing names.
	Methods []string `json:"methods"`
	// URL of the requests, with `{variable}` for one segment of any value and a final `**` for any more. For a tunnel it is
	// host:port; for a base path it begins with /r/.
	URL    string   `json:"url"`
	Before *Meaning `json:"before"` // nil: such a request is refused
	After  *Meaning `json:"after"`
}

// Meaning is what requests of one kind are.
type Meaning struct {
	// Resource as the rule writes it; of traffic that no rule maps, with `{variable}` and `**` as in a URL.
	Resource string `json:"resource"`
	// Actions that such a request needs, all of them.
	Actions Actions `json:"actions"`
	forms   []form
	exact   string // tells it from another meaning of the same requests
}

// Covered reports whether a scope covers some request of this meaning. It is never false for a scope that does; it may be
// true for one that does not, where what a rule leaves open depends on more than one segment. Nothing covers nil.
func (m *Meaning) Covered(resources []ResourcePattern, actions Actions) bool {
	if m == nil || !actions.Covers(m.Actions) {
		return false
	}
	for _, p := range resources {
		for _, f := range m.forms {
			if overlaps(string(p), f) {
				return true
			}
		}
	}
	return false
}

// Differences lists the requests that have another resource or need another action by a later catalog, or that only one
// of the two does not refuse, in a fixed order. Where a difference is told, some request of the kind does differ, and of
// every request that differs its kind is told; what does not count is a base path that is there in the later catalog only,
// or a destination that has tunnels again, because these are further ways to the same requests.
//
// Too many differences are an invalid_request.
func (c *Catalog) Differences(later *Catalog) ([]Difference, error) {
	d := &differences{found: map[string]int{}}
	for _, host := range changedHosts(c, later) {
		for _, port := range portsOf(c.entries(host), later.entries(host)) {
			for _, scheme := range []string{"https", "http"} {
				t := Target{Scheme: scheme, Host: host, Port: port}
				if err := d.compare(t.Scheme+"://"+t.Authority(), c.reading(t), later.reading(t)); err != nil {
					return nil, err
				}
			}
			if err := d.compareTunnels(host, port, c, later); err != nil {
				return nil, err
			}
		}
	}
	if err := d.compareBasePaths(c, later); err != nil {
		return nil, err
	}
	slices.SortFunc(d.all, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.URL, b.URL), strings.Compare(a.Before.describe(), b.Before.describe()), strings.Compare(a.After.describe(), b.After.describe()))
	})
	return d.all, nil
}

func (m *Meaning) describe() string {
	if m == nil {
		return ""
	}
	return fmt.Sprint(m.Resource, m.Actions, m.forms)
}

// changedHosts are the hosts, and the suffixes as `*.suffix`, that two states of the catalog have different destinations for. What
// a request to any other host is, is the same by both.
func changedHosts(a, b *Catalog) []string {
	var hosts []string
	for _, index := range []struct {
		prefix string
		a, b   map[string][]*catalogEntry
	}{{"", a.exact, b.exact}, {"*.", a.suffix, b.suffix}} {
		all := slices.AppendSeq(slices.Collect(maps.Keys(index.a)), maps.Keys(index.b))
		slices.Sort(all)
		for _, host := range slices.Compact(all) {
			if !slices.EqualFunc(index.a[host], index.b[host], sameMeaning) {
				hosts = append(hosts, index.prefix+host)
			}
		}
	}
	return hosts
}

func sameMeaning(a, b *catalogEntry) bool {
	x, y := a.destination, b.destination
	return x.TLS == y.TLS && x.EncodedSlash == y.EncodedSlash && cmp.Or(x.Tunnel, TunnelInspect) == cmp.Or(y.Tunnel, TunnelInspect) &&
		slices.Equal(x.Ports, y.Ports) &&
		slices.EqualFunc(x.Rules, y.Rules, func(r, s Rule) bool {
			return r.Path == s.Path && r.Resource == s.Resource && maps.Equal(r.Methods, s.Methods)
		})
}

// portsOf are all on which a request can be anything but refused.
func portsOf(lists ...[]*catalogEntry) []uint16 {
	ports := []uint16{portPlain, portTLS}
	for _, entries := range lists {
		for _, e := range entries {
			ports = append(ports, e.destination.Ports...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// differences collects what is found.
type differences struct {
	all      []Difference
	found    map[string]int // where a difference is in the list, by all of it but its methods
	compared int
}

func (d *differences) add(method, url string, before, after *Meaning) error {
	key := url + "\x00" + before.describe() + "\x00" + after.describe()
	if i, told := d.found[key]; told {
		if !slices.Contains(d.all[i].Methods, method) {
			d.all[i].Methods = append(d.all[i].Methods, method)
			slices.Sort(d.all[i].Methods)
		}
		return nil
	}
	if len(d.all) == maxDifferences {
		return tooDifferent()
	}
	d.found[key] = len(d.all)
	d.all = append(d.all, Difference{Methods: []string{method}, URL: url, Before: before, After: after})
	return nil
}

func tooDifferent() error {
	return Invalid("rules", "the change gives too many kinds of requests another meaning to be told: make it in smaller steps")
}

// compareTunnels finds what a CONNECT does not lead to any more, and what an opaque tunnel is.
func (d *differences) compareTunnels(host string, port uint16, a, b *Catalog) error {
	before, after := a.tunnel(host, port), b.tunnel(host, port)
	url := host + ":" + strconv.Itoa(int(port))
	if before.opaque != nil || after.opaque != nil {
		if before.opaque.describe() == after.opaque.describe() {
			return nil
		}
		if err := d.add("CONNECT", url, before.opaque, after.opaque); err != nil {
			return err
		}
	}
	if !before.inspected || after.inspected || !after.served {
		return nil
	}
	inside := &differences{found: map[string]int{}, compared: d.compared}
	if err := inside.compare("", before.inside, reading{}); err != nil {
		return err
	}
	d.compared = inside.compared
	for _, lost := range inside.all {
		if err := d.add("CONNECT", url, lost.Before, after.opaque); err != nil {
			return err
		}
	}
	return nil
}

// tunnelling is what a CONNECT to a port of a host is.
type tunnelling struct {
	served    bool // there are requests to the port at all
	inspected bool
	inside    reading  // of what is inspected
	opaque    *Meaning // of a tunnel that is not
}

func (c *Catalog) tunnel(host string, port uint16) tunnelling {
	t := Target{Scheme: "https", Host: host, Port: port}
	entry, err := c.serving(host, port)
	if err != nil {
		return tunnelling{}
	}
	if entry != nil && entry.destination.TLS == TLSNone || entry == nil && port == portPlain {
		t.Scheme = "http"
	}
	how := TunnelInspect
	if entry != nil {
		how = cmp.Or(entry.destination.Tunnel, TunnelInspect)
	}
	all := tunnelling{served: true, inspected: how == TunnelInspect, inside: c.reading(t)}
	if how == TunnelPassthrough {
		resource := string(TunnelResource(host, port))
		all.opaque = &Meaning{Resource: resource, Actions: AllActions(), forms: []form{{text: resource}}, exact: resource}
	}
	return all
}

// compareBasePaths finds what the paths of the gateway that the first catalog has lead to by the second.
func (d *differences) compareBasePaths(a, b *Catalog) error {
	for _, base := range slices.Sorted(maps.Keys(a.base)) {
		before, _, err := a.Under(base, "/")
		if err != nil {
			return err
		}
		after, is, err := b.Under(base, "/")
		if err != nil {
			return err
		}
		later := reading{}
		if is {
			if before == after {
				continue // it is a request to that host, and compared as such
			}
			later = b.reading(after)
		}
		if err := d.compare("/r/"+base, a.reading(before), later); err != nil {
			return err
		}
	}
	return nil
}
