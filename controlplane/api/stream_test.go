package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// streamPatience is how long a test waits for something of a stream before it is given up.
const streamPatience = 30 * time.Second

// message is one server-sent event.
type message struct {
	id, event string
	data      authority.Event
}

// following is a stream that a test reads.
type following struct {
	t     testing.TB
	lines *bufio.Scanner
	body  io.Closer
}

// followEvents opens a stream, which is there when it returns.
func (w *world) followEvents(t testing.TB, key, path, lastEventID string) *following {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), streamPatience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("the stream is answered %s as %s: %s", response.Status, response.Header.Get("Content-Type"), text)
	}
	f := &following{t: t, lines: bufio.NewScanner(response.Body), body: response.Body}
	if !f.lines.Scan() || !strings.HasPrefix(f.lines.Text(), "retry: ") {
		t.Fatalf("the stream begins with %q (%v)", f.lines.Text(), f.lines.Err())
	}
	return f
}

// next is the next message; false when the stream has ended.
func (f *following) next() (message, bool) {
	f.t.Helper()
	var m message
	for f.lines.Scan() {
		line := f.lines.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &m.data); err != nil {
				f.t.Fatalf("%s: %v", line, err)
			}
		case "":
			if m.id != "" {
				return m, true
			}
		}
	}
	if err := f.lines.Err(); err != nil {
		f.t.Fatal(err)
	}
	return m, false
}

func (f *following) expect(want authority.EventType, mandate authority.MandateID) message {
	f.t.Helper()
	m, ok := f.next()
	if !ok || m.event != string(want) || m.data.Type != want || m.data.MandateID != mandate || m.id == "" {
		f.t.Fatalf("the stream tells %s %s of %s, want %s of %s", m.event, m.data.ID, m.data.MandateID, want, mandate)
	}
	return m
}

func TestAStreamTellsEventsAsTheyHappen(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	m.issue() // before anybody listens
	for _, path := range []string{m.at("events/stream"), "/api/v1/events/stream?workspace_slug=my-team"} {
		f := m.followEvents(t, m.ownerKey, path, "")
		first, second := m.issue(), m.issue()
		place := f.expect(authority.EventIssued, first.ID)
		f.expect(authority.EventIssued, second.ID)
		m.own("POST", "/api/v1/mandates/"+string(first.ID)+"/revoke", nil)
		f.expect(authority.EventRevoked, first.ID)
		_ = f.body.Close()

		again := m.followEvents(t, m.ownerKey, path, place.id)
		again.expect(authority.EventIssued, second.ID)
		again.expect(authority.EventRevoked, first.ID)
	}
}

func TestAStreamIsFilteredLikeTheList(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	f := m.followEvents(t, m.ownerKey, m.at("events/stream")+"?event_type=revoked", "")
	mandate := m.issue()
	m.own("POST", "/api/v1/mandates/"+string(mandate.ID)+"/revoke", nil)
	f.expect(authority.EventRevoked, mandate.ID)
}

// An agent hears of itself alone, and nobody of another workspace.
func TestAStreamTellsTheCallersOwnOnly(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.newTeam(t, "mine"), w.newTeam(t, "theirs")
	helper, owner := mine.followEvents(t, mine.helperKey, "/api/v1/events/stream", ""), mine.followEvents(t, mine.ownerKey, "/api/v1/events/stream", "")
	theirs.issue()
	mandate := mine.issue()
	owner.expect(authority.EventIssued, mandate.ID)
	child := into[authority.Mandate](mine.own("POST", "/api/v1/mandates/"+string(mandate.ID)+"/delegate", mine.delegation(mine.helper)).ok(201))
	helper.expect(authority.EventDelegated, child.ID)
}

// What began with a right ends with it.
func TestAStreamEndsWithItsCallersRight(t *testing.T) {
	for sentence, end := range map[string]func(*team){
		"its key is revoked": func(m *team) {
			keys := into[struct {
				Items []authority.Key `json:"items"`
			}](m.own("GET", m.at("keys")+"?principal_id="+string(m.agent), nil).ok(200)).Items
			m.own("POST", "/api/v1/keys/"+string(keys[0].ID)+"/revoke", nil).ok(200)
		},
		"its principal is suspended": func(m *team) {
			m.own("POST", "/api/v1/principals/"+string(m.agent)+"/suspend", nil).ok(200)
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			m := newWorld(t).newTeam(t, "my-team")
			f := m.followEvents(t, m.agentKey, "/api/v1/events/stream", "")
			end(m)
			for {
				told, ok := f.next()
				if !ok {
					break
				}
				if told.data.Type == authority.EventIssued {
					t.Fatal("the stream goes on")
				}
			}
		})
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	m, theirs := w.newTeam(t, "my-team"), w.newTeam(t, "theirs")
	path := m.at("events/stream")
	for _, bad := range []string{"x", strings.Repeat("A", 200), strings.Repeat("A", 1100)} {
		m.own("GET", path, nil, "Last-Event-ID: "+bad).refused(400, "invalid_request", "Last-Event-ID", "")
	}
	m.own("GET", path+"?limit=1", nil).refused(400, "invalid_request", "limit", "")
	m.own("GET", path+"?start_date=2026-01-01", nil).refused(400, "invalid_request", "start_date", "")
	m.own("GET", path, nil, "Accept: application/json").refused(406, "not_acceptable", "Accept", "")
	m.own("GET", theirs.at("events/stream"), nil).refused(404, "not_found", "", "")
	if a := m.own("HEAD", path, nil); a.status != 200 || len(a.body) != 0 {
		t.Errorf("HEAD answered %d %q", a.status, a.body)
	}

	f := theirs.followEvents(t, theirs.ownerKey, "/api/v1/events/stream", "")
	place := f.expect(authority.EventIssued, theirs.issue().ID)
	m.own("GET", path, nil, "Last-Event-ID: "+place.id).refused(400, "invalid_request", "Last-Event-ID", "")
}

func TestOneCallerHasNoEndOfStreams(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	for range 8 {
		m.followEvents(t, m.helperKey, "/api/v1/events/stream", "")
	}
	a := m.call(t, m.helperKey, "GET", "/api/v1/events/stream", nil)
	a.refused(429, "rate_limited", "", "")
	if a.header.Get("Retry-After") == "" {
		t.Error("nothing says when to come back")
	}
	m.own("GET", "/api/v1/events/stream", nil).ok(200)
}

// A transaction that began earlier and ends later is told later, and none of its events is missed.
func TestAStreamMissesNothingThatIsCommittedLate(t *testing.T) {
	m := newWorld(t).newTeam(t, "my-team")
	f := m.followEvents(t, m.ownerKey, "/api/v1/events/stream", "")
	const writers, each = 4, 10
	failed := make(chan error, writers)
	for range writers {
		go func() {
			for range each {
				a := m.own("POST", "/api/v1/mandates/validate", map[string]any{"mandate_id": "mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", "requested_action": "read", "requested_resource": "db:x"})
				if a.status != 200 {
					failed <- errors.New(string(a.body))
					return
				}
			}
			failed <- nil
		}()
	}
	seen := map[authority.EventID]bool{}
	for len(seen) < writers*each {
		told, ok := f.next()
		if !ok || seen[told.data.ID] {
			t.Fatalf("after %d events the stream tells %+v (%v)", len(seen), told, ok)
		}
		seen[told.data.ID] = true
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
