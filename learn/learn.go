// Package learn proposes destinations for what a workspace's gateways denied: a ready one where there is one for the host,
// and otherwise rules for the paths that were asked for. It proposes, and decides nothing.
package learn

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
)

// maxRules is how many rules a proposal has at most; what would have more is told by beginnings of paths.
const maxRules = 40

// Proposal is one destination that would map requests which were denied.
type Proposal struct {
	// Entry is the ready entry that serves the host; empty for a destination that is made up.
	Entry string
	// Extends is the destination that is there, to which Rules would be added; nil for one that is not there yet.
	Extends     *authority.Destination
	Destination authority.Destination // without identifiers; of an entry and of an extension zero
	Rules       []authority.Rule      // that would be added to what is there
	Hosts       []string
	Requests    int // that were denied
}

// Propose makes proposals of denials and of the destinations that are there, in the order of their first hosts. A denial
// that no destination mends, such as that of a caller who is not known, or of a request that is mapped and that no mandate
// covers, counts for none.
func Propose(events []authority.Event, present []authority.Destination) []Proposal {
	hosts := map[string][]authority.RequestRecord{}
	for _, e := range events {
		if mendable(e) {
			hosts[e.Request.Host] = append(hosts[e.Request.Host], *e.Request)
		}
	}
	var proposals []Proposal
	ready := map[string]int{} // where the proposal of an entry is
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		requests := hosts[host]
		if d := serving(present, host); d != nil {
			if p, ok := extension(*d, host, requests); ok {
				proposals = append(proposals, p)
			}
			continue
		}
		if name := readyFor(host); name != "" {
			i, told := ready[name]
			if !told {
				i, ready[name] = len(proposals), len(proposals)
				proposals = append(proposals, Proposal{Entry: name})
			}
			proposals[i].Hosts = append(proposals[i].Hosts, host)
			proposals[i].Requests += len(requests)
			continue
		}
		if d, ok := destination(host, requests); ok {
			proposals = append(proposals, Proposal{Destination: d, Hosts: []string{host}, Requests: len(requests)})
		}
	}
	return proposals
}

// mendable reports whether a denial is one that a destination could make another of: of a host, port or path that nothing
// maps.
func mendable(e authority.Event) bool {
	if e.Type != authority.EventDenied || e.Request == nil || e.Request.Host == "" || strings.Contains(e.Request.Path, "…") {
		return false
	}
	switch e.Reason {
	case authority.ReasonTargetNotAllowed:
		return true
	case authority.ReasonNotInScope, authority.ReasonActionNotInScope, authority.ReasonNoMandateApplies, authority.ReasonMissingMandate:
		kind, _, _ := strings.Cut(string(e.Resource), ":")
		return kind == "host" || kind == ""
	default:
		return false
	}
}

func matches(pattern, host string) bool {
	suffix, wildcard := strings.CutPrefix(pattern, "*")
	return pattern == host || wildcard && strings.HasSuffix(host, suffix)
}

// serving is the destination whose host is the longest that matches.
func serving(present []authority.Destination, host string) *authority.Destination {
	var best *authority.Destination
	for i, d := range present {
		if matches(d.Host, host) && (best == nil || d.Host == host || best.Host != host && len(d.Host) > len(best.Host)) {
			best = &present[i]
		}
	}
	return best
}

func readyFor(host string) string {
	for _, e := range catalog.Entries() {
		if serving(e.Destinations, host) != nil {
			return e.Name
		}
	}
	return ""
}

// extension proposes rules for paths that a destination with rules does not list. What its rules list already, and what is
// refused for another reason, such as its port, is left out.
func extension(d authority.Destination, host string, requests []authority.RequestRecord) (Proposal, bool) {
	present, err := authority.NewCatalog([]authority.Destination{d})
	if err != nil || len(d.Rules) == 0 {
		return Proposal{}, false
	}
	requests = slices.DeleteFunc(slices.Clone(requests), func(r authority.RequestRecord) bool {
		_, err := present.Resolve(r.Method, authority.Target{Scheme: r.Scheme, Host: r.Host, Port: r.Port, Path: r.Path})
		return err == nil || !slices.Contains(d.Ports, r.Port) || (d.TLS == authority.TLSNone) != (r.Scheme == "http") || r.Method == http.MethodConnect
	})
	for _, rules := range [][]authority.Rule{rulesOf(d.Name, requests), beginnings(d.Name, requests)} {
		extended := d
		extended.Rules = slices.Concat(d.Rules, rules)
		if len(requests) > 0 && extended.Validate() == nil {
			return Proposal{Extends: &d, Rules: rules, Hosts: []string{host}, Requests: len(requests)}, true
		}
	}
	return Proposal{}, false
}

// destination proposes one for a host that has none.
func destination(host string, requests []authority.RequestRecord) (authority.Destination, bool) {
	d := authority.Destination{Name: host, Host: host}
	for _, r := range requests {
		if r.Port != 0 && !slices.Contains(d.Ports, r.Port) {
			d.Ports = append(d.Ports, r.Port)
		}
		if strings.Contains(strings.ToUpper(r.Path), "%2F") {
			d.EncodedSlash = authority.EncodedSlashKeep
		}
	}
	if !slices.ContainsFunc(requests, func(r authority.RequestRecord) bool { return r.Scheme != "http" }) {
		d.TLS = authority.TLSNone
	}
	slices.Sort(d.Ports)
	d = d.WithDefaults()
	for _, d.Rules = range [][]authority.Rule{rulesOf(host, requests), beginnings(host, requests), {everything(host)}} {
		if len(d.Rules) > 0 && d.Validate() == nil {
			return d, true
		}
	}
	return d, false
}

// everything is the rule for a host of which only tunnels were asked for, or whose paths make no rules.
func everything(name string) authority.Rule {
	return authority.Rule{Path: "/**", Methods: map[string]authority.Action{"GET": authority.Read, "HEAD": authority.Read}, Resource: "api:" + segmentName(name)}
}

// rulesOf makes a rule of each path whose identifiers are left open; none where these are too many.
func rulesOf(name string, requests []authority.RequestRecord) []authority.Rule {
	return rules(name, requests, func(segments []string) ([]string, bool) { return segments, false })
}

// beginnings makes rules of the first segments of the paths, and of everything where these are too many as well.
func beginnings(name string, requests []authority.RequestRecord) []authority.Rule {
	byFirst := rules(name, requests, func(segments []string) ([]string, bool) { return segments[:min(1, len(segments))], true })
	if len(byFirst) > 0 {
		return byFirst
	}
	return rules(name, requests, func([]string) ([]string, bool) { return nil, true })
}

func rules(name string, requests []authority.RequestRecord, part func([]string) (segments []string, open bool)) []authority.Rule {
	found := map[string]*authority.Rule{}
	for _, r := range requests {
		if r.Method == http.MethodConnect || r.Method == "" || r.Path == "" {
			continue
		}
		segments, open := part(openIdentifiers(strings.Split(strings.Trim(r.Path, "/"), "/")))
		path := "/" + strings.Join(segments, "/")
		resource := "api:" + segmentName(name)
		for _, s := range segments {
			if s != "" {
				resource += "/" + segmentName(s)
			}
		}
		if open {
			path = strings.TrimSuffix(path, "/") + "/**"
		}
		if found[path] == nil {
			found[path] = &authority.Rule{Path: path, Methods: map[string]authority.Action{}, Resource: resource}
		}
		found[path].Methods[r.Method] = actionOf(r.Method)
	}
	if len(found) > maxRules {
		return nil
	}
	list := make([]authority.Rule, 0, len(found))
	for _, r := range found {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b authority.Rule) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

func actionOf(method string) authority.Action {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return authority.Read
	}
	return authority.Write
}

// segmentName writes a segment of a path as one of a resource.
func segmentName(segment string) string {
	return strings.NewReplacer(":", "%3A", "*", "%2A", "[", "%5B", "]", "%5D").Replace(segment)
}
