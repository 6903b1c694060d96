package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
)

func TestTheEndOfARunSaysWhatDidNotGetThrough(t *testing.T) {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	outcome := func(details string, by authority.Reason) authority.Event {
		return authority.Event{Type: authority.EventAllowed, Resource: "pkg:pypi/six", Action: authority.Read, DecisionID: "dec_1", Time: began,
			Request: &authority.RequestRecord{Host: "pypi.org", Port: 443}, Outcome: &authority.Outcome{Details: details, EndedBy: by}}
	}
	denied := authority.Event{Type: authority.EventDenied, Reason: authority.ReasonNotInScope, Message: "The mandate covers nothing at a.test port 443.",
		DecisionID: "dec_2", Time: began, Request: &authority.RequestRecord{Host: "a.test", Port: 443}}
	for sentence, c := range map[string]struct {
		events []authority.Event
		want   string
	}{
		"nothing came": {nil, "caracal run: 0 allowed, 0 denied\n" +
			"caracal run: no request of the command was decided on: it made none, goes past the proxy, or does not trust its certificates\n"},
		"one was answered": {[]authority.Event{outcome("via_upstream", "")}, "caracal run: 1 allowed, 0 denied\n  allowed    1  read pkg:pypi/six\n"},
		"one has an address that is not public": {[]authority.Event{outcome("via_upstream", ""), outcome("dns_resolution_failure{address_denied}", "")},
			"caracal run: 2 allowed (1 of them without what it asked for), 0 denied\n" +
				"  allowed    1  read pkg:pypi/six\n" +
				"                target_not_allowed: The target's address is not one that this gateway may connect to.\n" +
				"                caracal event show dec_1\n" +
				"  allowed    1  read pkg:pypi/six\n"},
		"one was slow": {[]authority.Event{outcome("upstream_response_timeout", "")},
			"caracal run: 1 allowed (1 of them without what it asked for), 0 denied\n" +
				"  allowed    1  read pkg:pypi/six\n" +
				"                upstream_timeout: The target did not answer in time.\n" +
				"                caracal event show dec_1\n"},
		"one was ended": {[]authority.Event{outcome("caracal_watch_mandate_revoked", authority.ReasonMandateRevoked)},
			"caracal run: 1 allowed (1 of them without what it asked for), 0 denied\n" +
				"  allowed    1  read pkg:pypi/six\n" +
				"                mandate_revoked: The request was ended while it was under way.\n" +
				"                caracal event show dec_1\n"},
		"a tunnel was refused": {[]authority.Event{denied}, "caracal run: 0 allowed, 1 denied\n" +
			"  denied     1  a.test:443\n" +
			"                resource_not_in_scope: The mandate covers nothing at a.test port 443.\n" +
			"                caracal event show dec_2\n"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var printed bytes.Buffer
			g := &governed{program: &program{stderr: &printed}}
			g.sum(tallied(c.events), true)
			if diff := cmp.Diff(c.want, printed.String()); diff != "" {
				t.Errorf("it says (-want +got):\n%s", diff)
			}
		})
	}
}
