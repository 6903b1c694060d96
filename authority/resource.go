package authority

import "strings"

const (
	maxResourceBytes = 512
	maxListed        = 100 // elements of any list that a caller writes: patterns, actions, grantors
)

// Resource is the literal name of something that can be acted on: segments of printable ASCII separated by `:` and `/`,
// such as `api:external/openai`. The separators are part of the name. Segments are not empty, with one exception: a
// resource that begins with the segment `host` may end in `/`, which is how the root of a host is named.
type Resource string

// ResourcePattern is a resource in which a whole segment may be `*`: exactly one segment, or, as the final segment,
// one and more further segments whatever separates them.
type ResourcePattern string

// ParseResource reads a literal resource of at most 512 bytes. Anything else is an invalid_request; nothing is repaired.
func ParseResource(s string) (Resource, error) {
	if problem := resourceProblem(s, false); problem != "" {
		return "", Invalid("", "%q is not a resource: %s", clip(s), problem)
	}
	return Resource(s), nil
}

// ParseResourcePattern reads a pattern of at most 512 bytes. Anything else is an invalid_request; nothing is repaired.
func ParseResourcePattern(s string) (ResourcePattern, error) {
	if problem := resourceProblem(s, true); problem != "" {
		return "", Invalid("", "%q is not a resource pattern: %s", clip(s), problem)
	}
	return ResourcePattern(s), nil
}

// ParsePatterns reads a list of patterns and leaves duplicates out. An empty list is an invalid_request, because it
// would grant nothing; the Field of an error is the element's index, such as [1].
func ParsePatterns[S ~string](list []S) ([]ResourcePattern, error) {
	if len(list) == 0 {
		return nil, Invalid("", "names no resource, and an empty list grants nothing")
	}
	if len(list) > maxListed {
		return nil, Invalid("", "has more than %d elements", maxListed)
	}
	patterns := make([]ResourcePattern, 0, len(list))
	seen := make(map[ResourcePattern]bool, len(list))
	for i, s := range list {
		p, err := ParseResourcePattern(string(s))
		if err != nil {
			return nil, Within(index(i), err)
		}
		if !seen[p] {
			seen[p] = true
			patterns = append(patterns, p)
		}
	}
	return patterns, nil
}

// Matches reports whether the pattern covers the resource. It takes time in the length of both and does not allocate.
func (p ResourcePattern) Matches(r Resource) bool { return covers(string(p), string(r)) }

// Covers reports whether this pattern matches every resource that the other one matches. It takes time in the length
// of both and does not allocate.
func (p ResourcePattern) Covers(other ResourcePattern) bool { return covers(string(p), string(other)) }

// Literal reports whether the pattern has no `*`, so that it matches the one resource of that name.
func (p ResourcePattern) Literal() bool { return strings.IndexByte(string(p), '*') < 0 }

// covers compares segment by segment. One walk serves resources and patterns, because a `*` on the right is covered by
// a `*` only, and a final one by a final one only: the separator behind the left one finds nothing to equal.
func covers(pattern, other string) bool {
	for {
		segment, separator, rest := cutSegment(pattern)
		otherSegment, otherSeparator, otherRest := cutSegment(other)
		if segment == "*" && separator == 0 {
			return true
		}
		if segment != "*" && segment != otherSegment || separator != otherSeparator {
			return false
		}
		if separator == 0 {
			return true
		}
		pattern, other = rest, otherRest
	}
}

// cutSegment splits off the first segment; the separator is 0 behind the last one.
func cutSegment(s string) (segment string, separator byte, rest string) {
	for i := range len(s) {
		if s[i] == ':' || s[i] == '/' {
			return s[:i], s[i], s[i+1:]
		}
	}
	return s, 0, ""
}

// resourceProblem says why s is not a resource, or not a pattern where wildcards may stand; empty when it is one.
func resourceProblem(s string, wildcards bool) string {
	if s == "" {
		return "it is empty"
	}
	if len(s) > maxResourceBytes {
		return "it is longer than 512 bytes"
	}
	first, _, _ := cutSegment(s)
	for rest := s; ; {
		segment, separator, tail := cutSegment(rest)
		switch {
		case segment == "" && separator == 0 && first == "host" && s[len(s)-1] == '/':
		case segment == "":
			return "it has an empty segment"
		case segment == "." || segment == "..":
			return "a segment is . or .."
		case segment == "*" && wildcards:
		default:
			if problem := segmentProblem(segment, wildcards); problem != "" {
				return problem
			}
		}
		if separator == 0 {
			return ""
		}
		rest = tail
	}
}

func segmentProblem(segment string, wildcards bool) string {
	for i := range len(segment) {
		switch c := segment[i]; {
		case c <= ' ' || c >= 0x7f:
			return "it has a space, a control character or a character outside ASCII"
		case c == '*' && wildcards:
			return "* stands for a whole segment only"
		case c == '*':
			return "it must be literal, without *"
		case c == '{' || c == '}' || c == '[' || c == ']':
			return "it has a brace or a bracket"
		}
	}
	return ""
}
