package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func TestAChangeCountsOnlyWhileNobodyElseMakesOne(t *testing.T) {
	for sentence, c := range map[string]struct {
		now  string // the tag when the change arrives
		want string // the code of the refusal
	}{
		"nobody has changed it":        {`"1"`, ""},
		"somebody else has changed it": {`"2"`, "precondition_failed"},
	} {
		t.Run(sentence, func(t *testing.T) {
			cl := answering(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodGet:
					w.Header().Set("ETag", `"1"`)
					fmt.Fprint(w, `{"name": "before", "host": "a.example"}`)
				case r.Header.Get("If-Match") != c.now:
					w.WriteHeader(http.StatusPreconditionFailed)
					fmt.Fprint(w, `{"code": "precondition_failed"}`)
				default:
					fmt.Fprint(w, `{"name": "after"}`)
				}
			})
			var read authority.Destination
			changed, err := cl.EditDestination(t.Context(), "dst_x", func(d authority.Destination) (authority.Destination, error) {
				read = d
				return d, nil
			})
			var refusal *client.Error
			if errors.As(err, &refusal) != (c.want != "") || refusal != nil && refusal.Code != c.want {
				t.Errorf("it ended with %v, want %q", err, c.want)
			}
			if read.Host != "a.example" || c.want == "" && changed.Name != "after" {
				t.Errorf("it was read as %v and became %v", read, changed)
			}
		})
	}
}

// A connection that breaks before the answer says nothing of whether the change was made: it is sent again under the same
// key, once.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	for sentence, c := range map[string]struct {
		lost, want int // how many answers are lost, and how many requests are made
		ok         bool
	}{
		"no answer is lost":     {0, 1, true},
		"the first one is":      {1, 2, true},
		"the second is as well": {2, 2, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			var mu sync.Mutex // guards keys: a broken handler may end after the next has begun
			var keys []string
			cl := answering(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if keys = append(keys, r.Header.Get("Idempotency-Key")); len(keys) <= c.lost {
					panic(http.ErrAbortHandler)
				}
				fmt.Fprint(w, `{}`)
			})
			_, err := cl.SuspendPrincipal(t.Context(), "prn_x", 0)
			mu.Lock()
			defer mu.Unlock()
			if (err == nil) != c.ok || len(keys) != c.want || keys[0] == "" || keys[len(keys)-1] != keys[0] {
				t.Errorf("%d requests under %v ended with %v", len(keys), keys, err)
			}
		})
	}
}

func TestSettlingWaitsForConnectedGateways(t *testing.T) {
	for sentence, c := range map[string]struct {
		wrote              string // the revision of the change
		gateways           []string
		wait               time.Duration
		enforcing, against int
	}{
		"nothing was changed": {"", []string{`{"connected": true, "acknowledged_revision": 1}`}, time.Minute, 0, 0},
		"it is enforced":      {"7", []string{`{"connected": true, "acknowledged_revision": 7}`}, time.Minute, 1, 1},
		"it is enforced soon": {"7", []string{`{"connected": true, "acknowledged_revision": 6}`, `{"connected": true, "acknowledged_revision": 8}`}, time.Minute, 1, 1},
		"it is not in time":   {"7", []string{`{"connected": true, "acknowledged_revision": 6}`}, time.Nanosecond, 0, 1},
		"a gateway is away":   {"7", []string{`{"connected": false, "acknowledged_revision": 6}`}, time.Minute, 0, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			var asked atomic.Int32
			cl := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set("X-Caracal-Revision", c.wrote)
					fmt.Fprint(w, `{}`)
					return
				}
				at := min(int(asked.Add(1)), len(c.gateways)) - 1
				fmt.Fprintf(w, `{"items": [%s]}`, c.gateways[at])
			})
			if _, err := cl.SuspendPrincipal(t.Context(), "prn_x", 0); err != nil {
				t.Fatal(err)
			}
			enforcing, connected, err := cl.Settle(t.Context(), c.wait)
			if err != nil || enforcing != c.enforcing || connected != c.against {
				t.Errorf("%d of %d enforce it (%v), want %d of %d", enforcing, connected, err, c.enforcing, c.against)
			}
		})
	}
}

func TestAStreamIsTakenUpWhereItBroke(t *testing.T) {
	var from []string
	cl := answering(t, func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.Header.Get("Last-Event-ID")+" "+r.URL.RequestURI())
		switch len(from) {
		case 1:
			fmt.Fprint(w, "retry: 2000\n\n: hello\n\nid: a\nevent: denied\ndata: {\"event_id\":\ndata: \"1\"}\n\nid: b\ndata: {\"event_id\": \"2\"}\n\ndata: {\"event_id\": \"half")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"code": "unavailable"}`)
		case 3:
			fmt.Fprint(w, "id: c\r\ndata: {\"event_id\": \"3\"}\r\n\r\n")
		default:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"code": "unauthenticated"}`)
		}
	})
	var got []string
	broken := 0
	err := cl.FollowEvents(t.Context(), client.Filter{"event_type": "denied"}, func(e authority.Event) error {
		got = append(got, string(e.ID))
		return nil
	}, func(error) { broken++ })
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized || broken != 3 {
		t.Errorf("it ended with %v after %d breaks", err, broken)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	const path = " /api/v1/workspaces/my-team/events/stream?event_type=denied"
	if diff := cmp.Diff([]string{path, "b" + path, "b" + path, "c" + path}, from); diff != "" {
		t.Errorf("asked from (-want +got):\n%s", diff)
	}
}

func TestFollowingEndsWhenItsReaderHasEnough(t *testing.T) {
	cl := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "data: {\"event_id\": \"1\"}\n\n") })
	enough := errors.New("enough")
	if err := cl.FollowEvents(t.Context(), nil, func(authority.Event) error { return enough }, nil); !errors.Is(err, enough) {
		t.Errorf("it ended with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := cl.FollowEvents(ctx, nil, func(authority.Event) error { cancel(); return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAProbeSendsNoKeyAndReadsAnyAnswer(t *testing.T) {
	var sent string
	cl := answering(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		w.Header().Set("Date", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "short and stout")
	})
	p, err := cl.Probe(t.Context(), "/health")
	if err != nil || p.Status != http.StatusTeapot || string(p.Body) != "short and stout" || sent != "" {
		t.Errorf("probed %+v (%v), with the key %q", p, err, sent)
	}
	if seconds := int(p.Skew.Seconds()); seconds < 80 || seconds > 90 {
		t.Errorf("the clock is %s s ahead", strconv.Itoa(seconds))
	}
}
