package authority

import (
	"slices"
	"strconv"
	"strings"
)

// ParseHostPort reads the authority of a CONNECT: a DNS name and a port, both of which must be there. It accepts two
// equivalent spellings, the letter case of the host and one trailing dot, and repairs nothing else. The error is an
// invalid_request with the reason invalid_target_url and says what is wrong.
func ParseHostPort(raw string) (host string, port uint16, err error) {
	if len(raw) > maxTargetBytes {
		return "", 0, invalidTarget("the authority is longer than 8 KiB")
	}
	if problem := urlProblem(raw); problem != "" {
		return "", 0, invalidTarget("%s", problem)
	}
	var t Target
	if problem := t.readAuthority(raw); problem != "" {
		return "", 0, invalidTarget("%s", problem)
	}
	if !strings.Contains(raw, ":") {
		return "", 0, invalidTarget("the authority has no port")
	}
	return t.Host, t.Port, nil
}

// TunnelResource names an opaque tunnel to a host and port. No resource of the requests there covers it.
func TunnelResource(host string, port uint16) Resource {
	return Resource("tunnel:" + host + ":" + strconv.Itoa(int(port)))
}

// Reachable gives patterns that together cover the resource of every request to a host and port that [Catalog.Resolve]
// maps. They may cover more. The destination is the one that [Catalog.Through] gives; nil is none.
func (c *Catalog) Reachable(d *Destination, host string, port uint16) []ResourcePattern {
	if d != nil {
		for _, entry := range slices.Concat(c.exact[d.Host], c.suffix[strings.TrimPrefix(d.Host, "*.")]) {
			if entry.destination == d && entry.rules != nil {
				return entry.resources
			}
		}
	}
	return []ResourcePattern{ResourcePattern("host:" + host + ":" + strconv.Itoa(int(port)) + "/*")}
}

// pattern covers whatever the template expands to: a variable is one segment, or as the last one at least that.
func (r Rule) pattern() ResourcePattern {
	var b strings.Builder
	for rest := r.Resource; ; {
		segment, separator, tail := cutSegment(rest)
		if strings.HasPrefix(segment, "{") {
			segment = "*"
		}
		b.WriteString(segment)
		if separator == 0 {
			return ResourcePattern(b.String())
		}
		b.WriteByte(separator)
		rest = tail
	}
}
