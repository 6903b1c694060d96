package authority

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxTargetBytes = 8 << 10

// ParsePath reads the path and query of a request target: `/`, segments, and possibly `?` and a query. It refuses
// whatever two readers could take for two different paths: empty and dot segments in any encoding (one empty segment
// may stand at the end), `;`, a backslash, control characters, a percent sign or an unreserved character written as an
// escape, bytes that are not UTF-8. An escaped slash passes here; Catalog.Resolve judges it by the destination. The
// error is an invalid_target_url.
func ParsePath(raw string) (path, query string, err error) {
	if len(raw) > maxTargetBytes {
		return "", "", invalidTarget("the path is longer than 8 KiB")
	}
	path, query, hasQuery := strings.Cut(raw, "?")
	if problem := pathProblem(path); problem != "" {
		return "", "", invalidTarget("%s", problem)
	}
	if problem := queryProblem(query); problem != "" {
		return "", "", invalidTarget("%s", problem)
	}
	if hasQuery && query == "" {
		return "", "", invalidTarget("the query is empty: leave the ? out")
	}
	return path, query, nil
}

func pathProblem(path string) string {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "the path does not begin with /"
	}
	for {
		segment, tail, more := strings.Cut(rest, "/")
		if segment == "" && !more {
			return ""
		}
		if _, problem := decodeSegment(segment); problem != "" {
			return problem
		}
		if !more {
			return ""
		}
		rest = tail
	}
}

// queryProblem accepts what clients send unescaped, since a query takes no part in naming a resource; what could end it
// early or end the request line is refused.
func queryProblem(query string) string {
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c <= ' ' || c >= 0x7f || strings.IndexByte("#\\\"<>", c) >= 0:
			return "the query has a character that must be percent-encoded"
		case c == '%':
			b, ok := unescape(query, i)
			if !ok {
				return "the query has a bad percent-escape"
			}
			if b == 0 {
				return "the query has an escaped NUL"
			}
			i += 2
		}
	}
	return ""
}

// decodeSegment decodes the escapes of one path segment, or says why the segment is refused.
func decodeSegment(raw string) (decoded, problem string) {
	decoded = raw
	if strings.IndexByte(raw, '%') >= 0 {
		if decoded, problem = unescapeSegment(raw); problem != "" {
			return "", problem
		}
	} else if problem = rawProblem(raw); problem != "" {
		return "", problem
	}
	for rest, more := decoded, true; more; {
		var piece string
		piece, rest, more = strings.Cut(rest, "/")
		switch piece {
		case "":
			return "", "the path has an empty segment"
		case ".", "..":
			return "", "the path has a . or .. segment"
		}
	}
	return decoded, ""
}

func rawProblem(raw string) string {
	for i := range len(raw) {
		if !isPathByte(raw[i]) {
			return "the path has a ; or a character that must be percent-encoded"
		}
	}
	return ""
}

func unescapeSegment(raw string) (decoded, problem string) {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			if problem := rawProblem(raw[i : i+1]); problem != "" {
				return "", problem
			}
			b.WriteByte(raw[i])
			continue
		}
		c, ok := unescape(raw, i)
		switch {
		case !ok:
			return "", "the path has a bad percent-escape"
		case c == '.':
			return "", "the path has an escaped dot"
		case isUnreserved(c):
			return "", "the path has an escape for a letter, digit or mark that needs none"
		case c == '%' || c == ';' || c == '\\':
			return "", "the path has an escaped %, ; or backslash"
		}
		b.WriteByte(c)
		i += 2
	}
	decoded = b.String()
	if !utf8.ValidString(decoded) {
		return "", "the path has escapes that are not UTF-8"
	}
	if strings.ContainsFunc(decoded, unicode.IsControl) {
		return "", "the path has an escaped control character"
	}
	return decoded, ""
}

// encodeSegment writes a decoded segment in the one spelling that it has in the name of a resource: `:`, `*` and
// whatever a path cannot hold literally as upper-case escapes, all else literally.
func encodeSegment(decoded string) string {
	const digits = "0123456789ABCDEF"
	literal := true
	for i := range len(decoded) {
		literal = literal && isResourceByte(decoded[i])
	}
	if literal {
		return decoded
	}
	var b strings.Builder
	b.Grow(len(decoded) + 8)
	for i := range len(decoded) {
		c := decoded[i]
		if isResourceByte(c) {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// unescape reads the escape whose percent sign is at s[i].
func unescape(s string, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	high, ok := hexDigit(s[i+1])
	low, alsoOK := hexDigit(s[i+2])
	return high<<4 | low, ok && alsoOK
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isPathByte reports whether a path segment may hold the byte as itself: RFC 3986's pchar without `;`, which some
// servers take for the start of parameters.
func isPathByte(c byte) bool { return isUnreserved(c) || strings.IndexByte("!$&'()*+,=:@", c) >= 0 }

func isResourceByte(c byte) bool { return isPathByte(c) && c != ':' && c != '*' }
