package authority

import "strings"

// Overlaps reports whether there is a resource that both patterns match, but for resources of more than 512 bytes, which
// are none. It takes time in the length of both and does not allocate.
func (p ResourcePattern) Overlaps(other ResourcePattern) bool {
	return overlaps(string(p), form{text: string(other), open: true})
}

// form is the resources that requests of one kind have in common. A `*` in it is exactly one segment; where the form is
// open, a final one is one and more, as in a pattern. A segment `*.suffix` is any host below the suffix.
type form struct {
	text string
	open bool
}

// overlaps compares segment by segment. A final `*` that is one and more segments meets whatever the other side goes on
// with, because that is at least the segment at hand.
func overlaps(pattern string, f form) bool {
	for rest := f.text; ; {
		segment, separator, tail := cutSegment(pattern)
		other, otherSeparator, otherTail := cutSegment(rest)
		if segment == "*" && separator == 0 || f.open && other == "*" && otherSeparator == 0 {
			return true
		}
		if !segmentsMeet(segment, other) || separator != otherSeparator {
			return false
		}
		if separator == 0 {
			return true
		}
		pattern, rest = tail, otherTail
	}
}

func segmentsMeet(segment, other string) bool {
	if segment == other || segment == "*" || other == "*" {
		return true
	}
	below, isSuffix := strings.CutPrefix(other, "*")
	return isSuffix && strings.HasSuffix(segment, below)
}
