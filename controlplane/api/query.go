package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// query reads the parameters of a request, each at most once. The first mistake is kept, and end tells it.
type query struct {
	values url.Values
	read   []string
	err    error
}

func readQuery(raw string) *query {
	values, err := url.ParseQuery(raw)
	q := &query{values: values}
	if err != nil {
		q.err = authority.Invalid("", "the query is not valid")
	}
	return q
}

func (q *query) refuse(err error) {
	if q.err == nil {
		q.err = err
	}
}

// text reads a parameter; it is empty when it is absent, and nothing else is.
func (q *query) text(name string) string { return q.line(name, maxLine) }

// line reads a parameter of at most limit bytes.
func (q *query) line(name string, limit int) string {
	q.read = append(q.read, name)
	values := q.values[name]
	if len(values) > 1 {
		q.refuse(authority.Invalid(name, "is given twice"))
	}
	if len(values) == 0 {
		return ""
	}
	if values[0] == "" {
		q.refuse(authority.Invalid(name, "is empty; leave it out"))
	}
	if len(values[0]) > limit || !printed(values[0]) {
		q.refuse(authority.Invalid(name, "is not one line of UTF-8 of at most %d bytes", limit))
		return ""
	}
	return values[0]
}

// choice reads a parameter that is one of a few words.
func (q *query) choice(name string, words ...string) string {
	v := q.text(name)
	if v != "" && !slices.Contains(words, v) {
		q.refuse(authority.Invalid(name, "must be one of: %s", strings.Join(words, ", ")))
	}
	return v
}

func (q *query) boolean(name string) *bool {
	v := q.choice(name, "true", "false")
	if v == "" {
		return nil
	}
	is := v == "true"
	return &is
}

// page reads which page of a list is asked for.
func (q *query) page() controlplane.Page {
	p := controlplane.Page{Cursor: q.text("cursor"), Sort: q.text("sort")}
	if v := q.text("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > controlplane.MaxPage {
			q.refuse(authority.Invalid("limit", "must be a number from 1 to %d", controlplane.MaxPage))
		}
		p.Limit = n
	}
	return p
}

// instant reads a parameter that is a point in time.
func (q *query) instant(name string) time.Time {
	v := q.text(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || t.Year() < 1 {
		q.refuse(authority.Invalid(name, "must be an instant such as 2026-01-15T10:30:00Z"))
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// created reads between which instants a thing was created.
func (q *query) created() controlplane.Created {
	return controlplane.Created{After: q.instant("created_after"), Before: q.instant("created_before")}
}

// end reports the first mistake, or a parameter that nothing has read: a misspelt filter must not answer everything.
func (q *query) end() error {
	if q.err != nil {
		return q.err
	}
	for name := range q.values {
		if !slices.Contains(q.read, name) {
			return authority.Invalid(name, "there is no such parameter")
		}
	}
	return nil
}

// id reads a parameter that names something, with the parser of its kind. The service answers whether there is such a
// thing; what cannot be a name is a mistake of the caller's.
func id[T ~string](q *query, name string, parse func(string) (T, error)) T {
	v := q.text(name)
	if v == "" {
		return ""
	}
	parsed, err := parse(v)
	if err != nil {
		q.refuse(authority.Within(name, err))
	}
	return parsed
}

// maxLine is the length of the longest parameter, in bytes.
const maxLine = 1024

func oneLine(s string) bool { return len(s) <= maxLine && printed(s) }

func printed(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
