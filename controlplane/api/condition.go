package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

const (
	maxTags      = 16
	maxTagHeader = 1024
)

// conditions gives the caller's write the condition of If-Match. If-None-Match is for reading: a write that would
// otherwise not be conditional, though its sender believes that it is, is refused.
func conditions(x *exchange, caller controlplane.Caller) (controlplane.Caller, error) {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead && len(x.r.Header.Values("If-None-Match")) > 0 {
		return caller, authority.Invalid("If-None-Match", "is for reading; a change takes If-Match")
	}
	tags, err := entityTags(x.r.Header, "If-Match")
	if err != nil || tags == nil {
		return caller, err
	}
	return caller.IfMatch(tags...), nil
}

// entityTags reads a header that lists entity tags, without their quotes; nil where the header is absent. A weak tag in
// If-Match is none, as RFC 9110 has it, but says that there is a condition.
func entityTags(header http.Header, name string) ([]string, error) {
	values := header.Values(name)
	if len(values) == 0 {
		return nil, nil
	}
	list := strings.Join(values, ",")
	invalid := authority.Invalid(name, `must be "*" or at most %d entity tags in quotes, separated by commas`, maxTags)
	if len(list) > maxTagHeader {
		return nil, invalid
	}
	if strings.TrimSpace(list) == "*" {
		return []string{controlplane.AnyTag}, nil
	}
	var tags []string
	for part := range strings.SplitSeq(list, ",") {
		text, weak := strings.CutPrefix(strings.TrimSpace(part), "W/")
		if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' || strings.ContainsFunc(text[1:len(text)-1], notInTag) {
			return nil, invalid
		}
		tag := text[1 : len(text)-1]
		if weak && name == "If-Match" || tag == controlplane.AnyTag {
			tag = "" // what no thing has
		}
		tags = append(tags, tag)
	}
	if len(tags) > maxTags {
		return nil, invalid
	}
	return tags, nil
}

func notInTag(r rune) bool { return r < '!' || r > '~' || r == '"' }

// tagged gives a reply the entity tag of the thing in it.
func tagged(a *reply, err error) (*reply, error) {
	if err == nil {
		a.tag = controlplane.Tag(a.body)
	}
	return a, err
}

// unlessKnown answers a thing that was read, or that it has not changed since its reader read it.
func (x *exchange) unlessKnown(a *reply) (*reply, error) {
	known, err := entityTags(x.r.Header, "If-None-Match")
	if err != nil {
		return nil, err
	}
	if a.tag != "" && (slices.Contains(known, a.tag) || slices.Contains(known, controlplane.AnyTag)) {
		return &reply{status: http.StatusNotModified, tag: a.tag}, nil
	}
	return a, nil
}
