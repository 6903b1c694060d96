package learn

import (
	"fmt"
	"regexp"
	"strings"
)

// Identifiers as they stand in paths: numbers and dates, UUIDs, digests, and long texts of letters and digits together.
var (
	number  = regexp.MustCompile(`^[0-9]+$`)
	date    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}`)
	uuid    = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	digest  = regexp.MustCompile(`(?i)^[0-9a-f]{12,}$`)
	random  = regexp.MustCompile(`^[A-Za-z0-9_-]{20,}$`)
	tagged  = regexp.MustCompile(`^[a-z]{1,10}_[A-Za-z0-9]{8,}$`)
	numeral = regexp.MustCompile(`[0-9]`)
)

// isIdentifier reports whether a segment names one thing of many rather than a place in an interface.
func isIdentifier(segment string) bool {
	switch {
	case number.MatchString(segment), date.MatchString(segment), uuid.MatchString(segment), strings.Contains(segment, "@"), strings.Contains(segment, "%40"):
		return true
	case !numeral.MatchString(segment):
		return false
	}
	return digest.MatchString(segment) || random.MatchString(segment) || tagged.MatchString(segment)
}

// openIdentifiers puts variables in the place of identifiers: {id}, {id2} and so on. A literal `*` is written as rules
// write it.
func openIdentifiers(segments []string) []string {
	open := make([]string, len(segments))
	ids := 0
	for i, s := range segments {
		open[i] = strings.ReplaceAll(s, "*", "%2A")
		if !isIdentifier(s) {
			continue
		}
		if ids++; ids == 1 {
			open[i] = "{id}"
		} else {
			open[i] = fmt.Sprintf("{id%d}", ids)
		}
	}
	return open
}
