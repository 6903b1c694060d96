package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/envoy"
)

const (
	// settledFor is for how long no further decision has to arrive for a run's to be complete: a gateway ships twice a second.
	settledFor = 1500 * time.Millisecond
	// settleTimeout is how long they are waited for in all.
	settleTimeout = 5 * time.Second
	lookPause     = 250 * time.Millisecond
	// Bounds of what is read and shown.
	maxReported = 5000
	maxLines    = 20
)

// tally counts what was decided in the same way.
type tally struct {
	denied   bool
	action   authority.Action
	what     string // resource, or where it has none the host
	reason   authority.Reason
	message  string
	count    int
	decision authority.DecisionID // the last
	at       time.Time
}

// told reports whether there is something to say beside the count.
func (t tally) told() bool { return t.reason != "" }

// report says what was allowed and denied under the mandate since the run began.
func (g *governed) report(ctx context.Context) {
	events, complete, err := g.decisions(ctx)
	if err != nil {
		g.tell("what was allowed and denied is not known here: %v", err)
		return
	}
	g.sum(tallied(events), complete)
}

// sum prints what was counted; complete says that nothing more is on its way.
func (g *governed) sum(all []tally, complete bool) {
	allowed, denied, short, note := 0, 0, 0, ""
	for _, t := range all {
		switch {
		case t.denied:
			denied += t.count
			continue
		case t.told():
			short += t.count
		}
		allowed += t.count
	}
	if short > 0 {
		note = fmt.Sprintf(" (%d of them without what it asked for)", short)
	}
	more := ""
	if !complete {
		more = ", so far; more may be on its way: caracal event list --mandate " + string(g.mandate.ID)
	}
	g.tell("%d allowed%s, %d denied%s", allowed, note, denied, more)
	if complete && len(all) == 0 {
		g.tell("no request of the command was decided on: it made none, goes past the proxy, or does not trust its certificates")
	}
	for _, t := range all[:min(len(all), maxLines)] {
		g.line(t)
	}
	if len(all) > maxLines {
		g.tell("and %d more: caracal event list --mandate %s", len(all)-maxLines, g.mandate.ID)
	}
}

func (g *governed) line(t tally) {
	word := "allowed"
	if t.denied {
		word = "denied"
	}
	fmt.Fprintf(g.stderr, "  %-7s %4d  %s\n", word, t.count, printable(strings.TrimSpace(fmt.Sprintf("%s %s", t.action, t.what))))
	if t.told() {
		fmt.Fprintf(g.stderr, "                %s: %s\n                caracal event show %s\n", printable(string(t.reason)), printable(t.message), printable(string(t.decision)))
	}
}

// decisions are those under the mandate since the run began, once no more of them arrive.
func (g *governed) decisions(ctx context.Context) (all []authority.Event, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	since := time.Now()
	for known := -1; ; {
		found, err := g.control.Events(ctx, client.Filter{"mandate_id": string(g.mandate.ID), "start_date": g.began.UTC().Format(time.DateOnly)}, maxReported)
		switch {
		case err != nil && ctx.Err() != nil && known >= 0:
			return all, false, nil
		case err != nil:
			return nil, false, err
		}
		all = slices.DeleteFunc(found, func(e authority.Event) bool { return !g.counts(e) })
		if len(all) != known {
			known, since = len(all), time.Now()
		}
		if time.Since(since) >= settledFor {
			return all, len(found) < maxReported, nil
		}
		select {
		case <-ctx.Done():
			return all, false, nil
		case <-time.After(lookPause):
		}
	}
}

// clockAllowance is how far a gateway's clock may be behind this host's.
const clockAllowance = 2 * time.Second

// counts reports whether an event is a request's under the mandate. That a tunnel was opened to look inside says nothing yet.
func (g *governed) counts(e authority.Event) bool {
	if e.Gateway == nil || e.Request == nil || e.MandateID != g.mandate.ID || e.Time.Before(g.began.Add(-clockAllowance)) {
		return false
	}
	return e.Type == authority.EventDenied || e.Type == authority.EventAllowed && e.Resource != ""
}

// shortOf says why a request that was allowed did not get what it asked for; nothing where it did.
func shortOf(o *authority.Outcome) (authority.Reason, string) {
	if o == nil {
		return "", ""
	}
	if o.EndedBy != "" {
		return o.EndedBy, "The request was ended while it was under way."
	}
	reason, message, _ := envoy.Unanswered(o.Details)
	return authority.Reason(reason), message
}

// tallied counts events that say the same, the denied first and what went well last.
func tallied(events []authority.Event) []tally {
	type same struct {
		denied  bool
		action  authority.Action
		what    string
		reason  authority.Reason
		message string
	}
	counted := map[same]tally{}
	for _, e := range events {
		what := about(e)
		key := same{e.Type == authority.EventDenied, e.Action, what, e.Reason, e.Message}
		if !key.denied {
			key.reason, key.message = shortOf(e.Outcome)
		}
		t := counted[key]
		t.denied, t.action, t.what, t.reason, t.message = key.denied, key.action, key.what, key.reason, key.message
		if t.count++; t.decision == "" || e.Time.After(t.at) {
			t.decision, t.at = e.DecisionID, e.Time
		}
		counted[key] = t
	}
	return slices.SortedFunc(maps.Values(counted), func(a, b tally) int {
		if a.denied != b.denied {
			if a.denied {
				return -1
			}
			return 1
		}
		if a.told() != b.told() {
			if a.told() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.what, b.what), strings.Compare(string(a.action), string(b.action)), strings.Compare(string(a.reason), string(b.reason)))
	})
}
