package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

// TestEveryThingThatIsReadHasATagThatSavesItsReaderTheNext walks the document: each operation that reads one thing, by
// its id or its slug.
func TestEveryThingThatIsReadHasATagThatSavesItsReaderTheNext(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	things := m.possessions()
	walked := 0
	for _, o := range operations(t) {
		if o.method != http.MethodGet || o.open || !strings.HasSuffix(o.path, "/{id}") {
			continue
		}
		parts := strings.Split(o.path, "/")
		if things[parts[len(parts)-2]] == "" {
			continue
		}
		walked++
		t.Run(o.String(), func(t *testing.T) {
			path := things.at(o.path)
			first := m.own("GET", path, nil).ok(200)
			tag := first.header.Get("ETag")
			if len(tag) < 10 || tag[0] != '"' {
				t.Fatalf("the tag is %q", tag)
			}
			for _, known := range []string{tag, "W/" + tag, `"another", ` + tag, "*"} {
				again := m.own("GET", path, nil, "If-None-Match: "+known)
				if again.status != 304 || len(again.body) != 0 || again.header.Get("ETag") != tag {
					t.Errorf("with If-None-Match %s: %d %q %s", known, again.status, again.header.Get("ETag"), again.body)
				}
			}
			m.own("GET", path, nil, `If-None-Match: "another"`).ok(200)
			m.own("GET", path, nil, "If-None-Match: without quotes").refused(400, "invalid_request", "If-None-Match", "")
		})
	}
	if walked < 9 {
		t.Errorf("only %d operations were walked", walked)
	}
}

func TestAnEditIsHeldToItsCondition(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	path := "/api/v1/principals/" + string(m.agent)
	seen := m.own("GET", path, nil).ok(200).header.Get("ETag")
	edited := m.own("PATCH", path, map[string]any{"name": "first editor"}, "If-Match: "+seen).ok(200)
	m.own("PATCH", path, map[string]any{"name": "second editor"}, "If-Match: "+seen).refused(412, "precondition_failed", "If-Match", "")
	now := edited.header.Get("ETag")
	if now == seen || now != m.own("GET", path, nil).ok(200).header.Get("ETag") {
		t.Errorf("the tag of the edited thing is %q, was %q", now, seen)
	}
	if p := into[authority.Principal](m.own("GET", path, nil).ok(200)); p.Name != "first editor" {
		t.Errorf("the name is %q", p.Name)
	}
	now = m.own("PATCH", path, map[string]any{"metadata": map[string]string{"case": "one of several"}}, `If-Match: "x", `+now).ok(200).header.Get("ETag")
	// A weak tag is no promise that the thing is the same.
	m.own("PATCH", path, map[string]any{"name": "weak"}, "If-Match: W/"+now).refused(412, "precondition_failed", "If-Match", "")
	for sentence, c := range map[string]struct {
		header string
		status int
		code   string
		field  string
	}{
		"whatever it is":                 {"If-Match: *", 200, "", ""},
		"an asterisk in quotes":          {`If-Match: "*"`, 412, "precondition_failed", "If-Match"},
		"no quotes":                      {"If-Match: " + strings.Trim(now, `"`), 400, "invalid_request", "If-Match"},
		"nothing":                        {"If-Match: ", 400, "invalid_request", "If-Match"},
		"too many":                       {"If-Match: " + strings.Repeat(`"a",`, 20) + `"b"`, 400, "invalid_request", "If-Match"},
		"too long":                       {`If-Match: "` + strings.Repeat("a", 2000) + `"`, 400, "invalid_request", "If-Match"},
		"the condition that is for GETs": {"If-None-Match: *", 400, "invalid_request", "If-None-Match"},
	} {
		t.Log(sentence)
		a := m.own("PATCH", path, map[string]any{"metadata": map[string]string{"case": sentence}}, c.header)
		if c.status == 200 {
			a.ok(200)
			continue
		}
		a.refused(c.status, c.code, c.field, "")
	}
	m.own("POST", m.at("principals"), map[string]any{"name": "x", "principal_type": "agent"}, "If-Match: *").refused(400, "invalid_request", "If-Match", "")
	// A condition is part of the request that an Idempotency-Key stands for.
	m.own("PATCH", path, map[string]any{"name": "third"}, "Idempotency-Key: k", "If-Match: *").ok(200)
	m.own("PATCH", path, map[string]any{"name": "third"}, "Idempotency-Key: k", "If-Match: *").ok(200)
	m.own("PATCH", path, map[string]any{"name": "third"}, "Idempotency-Key: k").refused(409, "conflict", "Idempotency-Key", "")
}
