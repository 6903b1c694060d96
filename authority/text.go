package authority

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ParseSlug reads the short name of a workspace: 3 to 40 lower-case letters, digits and hyphens, beginning with a
// letter and not ending in a hyphen.
func ParseSlug(s string) (string, error) {
	ok := len(s) >= 3 && len(s) <= 40 && s[0] >= 'a' && s[0] <= 'z' && s[len(s)-1] != '-'
	for i := range len(s) {
		c := s[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return "", Invalid("", "%q is not a slug: 3 to 40 lower-case letters, digits and hyphens, first a letter, last no hyphen", clip(s))
	}
	return s, nil
}

// textProblem says why s is not one line of at most limit characters that shows as what it is: no control characters,
// and none that change the direction of text or show as nothing. Empty when it is.
func textProblem(s string, limit int) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	if utf8.RuneCountInString(s) > limit {
		return "is longer than " + strconv.Itoa(limit) + " characters"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "has a control, formatting or invisible character"
	}
	if strings.TrimSpace(s) != s {
		return "begins or ends with a space"
	}
	return ""
}

// nameProblem is textProblem for a text that must be there.
func nameProblem(s string, limit int) string {
	if s == "" {
		return "is empty"
	}
	return textProblem(s, limit)
}

// clip shortens what a caller sent to what an error message can hold.
func clip(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
