package authority

import (
	"fmt"
	"strconv"
	"strings"
)

// Target is a request target in its one canonical spelling. Two targets are the same exactly when they are ==.
type Target struct {
	Scheme string // "https" or "http"
	Host   string // a DNS name in lower case, without a trailing dot; never an address
	Port   uint16 // always present
	Path   string // begins with "/"; escapes as they were sent
	Query  string // as it was sent, without "?"
}

// ParseTarget reads an absolute http or https URL of at most 8 KiB. It accepts three equivalent spellings, the letter
// case of the host, one trailing dot of the host and the default port, and repairs nothing else: whatever two readers
// could take for two different places is refused. The error is an invalid_request with the reason invalid_target_url
// and says what is wrong.
func ParseTarget(raw string) (Target, error) {
	if len(raw) > maxTargetBytes {
		return Target{}, invalidTarget("the URL is longer than 8 KiB")
	}
	if problem := urlProblem(raw); problem != "" {
		return Target{}, invalidTarget("%s", problem)
	}
	t, rest, ok := cutScheme(raw)
	if !ok {
		return Target{}, invalidTarget("the URL does not begin with https:// or http://")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if problem := t.readAuthority(rest[:end]); problem != "" {
		return Target{}, invalidTarget("%s", problem)
	}
	requestPath := rest[end:]
	if !strings.HasPrefix(requestPath, "/") {
		requestPath = "/" + requestPath
	}
	var err error
	if t.Path, t.Query, err = ParsePath(requestPath); err != nil {
		return Target{}, err
	}
	return t, nil
}

// Authority is the host, with its port unless that is the scheme's default.
func (t Target) Authority() string {
	if t.Port == defaultPort(t.Scheme) {
		return t.Host
	}
	return t.Host + ":" + strconv.Itoa(int(t.Port))
}

// RequestPath is the path and, if there is one, `?` and the query.
func (t Target) RequestPath() string {
	if t.Query == "" {
		return t.Path
	}
	return t.Path + "?" + t.Query
}

// URL is the canonical spelling; ParseTarget reads it back as the same target.
func (t Target) URL() string { return t.Scheme + "://" + t.Authority() + t.RequestPath() }

// Segments are the path's segments with their escapes decoded, the way an upstream reads them; a path that ends in `/`
// has an empty last one. They are nil for a path that ParseTarget would refuse.
func (t Target) Segments() []string {
	segments := strings.Split(strings.TrimPrefix(t.Path, "/"), "/")
	for i, raw := range segments {
		if raw == "" && i == len(segments)-1 {
			break
		}
		decoded, problem := decodeSegment(raw)
		if problem != "" {
			return nil
		}
		segments[i] = decoded
	}
	return segments
}

// hasEncodedSlash reports whether a segment of the path holds an escaped slash.
func (t Target) hasEncodedSlash() bool {
	return strings.Contains(t.Path, "%2F") || strings.Contains(t.Path, "%2f")
}

// urlProblem refuses the characters that no part of a URL may hold.
func urlProblem(raw string) string {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '#':
			return "the URL has a fragment"
		case c == '\\':
			return "the URL has a backslash"
		case c <= ' ' || c == 0x7f:
			return "the URL has a space or a control character"
		case c > 0x7f:
			return "the URL has a character outside ASCII"
		}
	}
	return ""
}

func cutScheme(raw string) (t Target, rest string, ok bool) {
	for _, scheme := range []string{"https", "http"} {
		if rest, ok := strings.CutPrefix(raw, scheme+"://"); ok {
			return Target{Scheme: scheme}, rest, true
		}
	}
	return Target{}, "", false
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}

// readAuthority reads host and port, or says why they are refused.
func (t *Target) readAuthority(authority string) string {
	switch {
	case authority == "":
		return "the URL has no host"
	case strings.Contains(authority, "@"):
		return "the URL has user information before the host"
	case authority[0] == '[' && strings.Contains(authority, "%"):
		return "the host is an address with a zone id; it must be a name"
	case authority[0] == '[':
		return "the host is an IP address; it must be a name"
	}
	host, port, hasPort := strings.Cut(authority, ":")
	t.Port = defaultPort(t.Scheme)
	if hasPort {
		var ok bool
		if t.Port, ok = parsePort(port); !ok {
			return "the port is not a number from 1 to 65535 without leading zeros"
		}
	}
	t.Host = strings.ToLower(strings.TrimSuffix(host, "."))
	return hostProblem(t.Host)
}

// parsePort reads `[1-9][0-9]{0,4}` up to 65535.
func parsePort(s string) (uint16, bool) {
	if s == "" || s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}

// IsHost reports whether a name is the DNS name of a host in lower case, without a dot at its end.
func IsHost(name string) bool { return hostProblem(name) == "" }

// hostProblem says why a lower-case host is not a DNS name; empty when it is. A last label that a resolver could read
// as a number makes it an address in disguise.
func hostProblem(host string) string {
	if host == "" {
		return "the host is empty"
	}
	if len(host) > 253 {
		return "the host is longer than 253 bytes"
	}
	var label string
	for rest, more := host, true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if !isLabel(label) {
			return "the host is not a DNS name: labels of letters, digits and inner hyphens"
		}
	}
	if isNumeric(label) {
		return "the host is numeric; it must be a name"
	}
	return ""
}

func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if c := label[i]; (c < 'a' || c > 'z') && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func isNumeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func invalidTarget(format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Reason: ReasonInvalidTarget, Message: fmt.Sprintf(format, args...)}
}
