package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

// A backup is made, a mandate revoked, and the backup restored. Nothing comes back.
func TestWhatWasRevokedStaysRevokedWhenABackupIsRestored(t *testing.T) {
	s := newStack(t)
	e := s.edge()
	revoked, kept := e.issue(3600, "execute"), e.issue(3600, "execute")
	for _, mandate := range []string{revoked, kept} {
		if got := e.proxy(mandate, "/"); got.status != http.StatusOK {
			t.Fatalf("before the backup a request is answered %d %s", got.status, got.body)
		}
	}

	ownerURL, backup := cluster.Copy(t, s.ownerURL)
	eventually(t, "the mandate is revoked", func() bool {
		return s.call(s.ownerKey, http.MethodPost, "/api/v1/mandates/"+revoked+"/revoke", nil).status == http.StatusOK
	})
	before := s.call(s.ownerKey, http.MethodGet, "/api/v1/mandates/"+revoked, nil).header.Get(authority.StateHeader)
	wantDenied(t, e.proxy(revoked, "/"), http.StatusForbidden, authority.ReasonMandateRevoked)

	s.stopControl()
	s.ownerURL, s.database = ownerURL, backup
	s.serveDatabase(strings.TrimPrefix(s.url, "http://"))
	s.until(s.Run)
	eventually(t, "the control plane says that its database is behind", func() bool {
		return strings.Contains(s.call("", http.MethodGet, "/health", nil).body, `"database":"restored"`)
	})
	if got := s.call(s.ownerKey, http.MethodGet, "/api/v1/mandates/"+revoked, nil); got.status != http.StatusServiceUnavailable || got.member("code") != string(authority.CodeRestored) {
		t.Errorf("the restored database is served: %d %s", got.status, got.body)
	}
	if got := s.call("", http.MethodGet, "/ready", nil); got.status != http.StatusServiceUnavailable {
		t.Errorf("ready is answered %d", got.status)
	}
	wantDenied(t, e.proxy(revoked, "/"), http.StatusForbidden, authority.ReasonMandateRevoked)

	must(s.AcceptRestore(t.Context(), 0))(t)
	var after string
	eventually(t, "the gateway is served again, on the next timeline", func() bool {
		got, err := attempt(http.DefaultClient, s.ownerKey, http.MethodGet, s.url+"/api/v1/mandates/"+revoked, nil, nil)
		if err != nil || got.status != http.StatusOK {
			return false
		}
		after = got.header.Get(authority.StateHeader)
		if !strings.Contains(got.body, `"revoked":true`) {
			t.Fatalf("the database has forgotten the revocation: %s", got.body)
		}
		request := e.request(http.MethodPost, kept, upstreamHost, "/")
		request.Header.Set(authority.StateHeader, after)
		return must(send(e.client(), request))(t).status == http.StatusOK
	})
	wantDenied(t, e.proxy(revoked, "/"), http.StatusForbidden, authority.ReasonMandateRevoked)

	old := http.Header{authority.StateHeader: {before}}
	if got := must(attempt(http.DefaultClient, s.ownerKey, http.MethodGet, s.url+"/api/v1/mandates/"+kept, nil, old))(t); got.member("code") != string(authority.CodeStateUnknown) {
		t.Errorf("a state of before is answered %d %s", got.status, got.body)
	}
	request := e.request(http.MethodPost, kept, upstreamHost, "/")
	request.Header.Set(authority.StateHeader, before)
	wantDenied(t, must(send(e.client(), request))(t), http.StatusServiceUnavailable, authority.ReasonStateUnknown)
}

// Whoever hands the state of a write on is never answered from a state before it, at whichever gateway it asks.
func TestWhatWasWrittenIsKnownAtEveryGatewayOrSaidNotToBe(t *testing.T) {
	const rounds = 25
	s := newStack(t)
	edges := []*edge{s.edge(), s.edge()}
	for range rounds {
		made := s.call(s.agentKey, http.MethodPost, "/api/v1/mandates", s.terms(600, "execute"))
		state := made.header.Get(authority.StateHeader)
		if made.status != http.StatusCreated || state == "" {
			t.Fatalf("a mandate is answered %d %s, with the state %q", made.status, made.body, state)
		}
		use := func(state string, wanted int, reason authority.Reason) {
			for i, e := range edges {
				request := e.request(http.MethodPost, made.member("mandate_id"), upstreamHost, "/")
				request.Header.Set(authority.StateHeader, state)
				got := must(send(e.client(), request))(t)
				behind := got.status == http.StatusServiceUnavailable && got.member("error") == string(authority.ReasonStateBehind)
				if !behind && (got.status != wanted || got.member("error") != string(reason)) {
					t.Errorf("gateway %d answers %d %s, want %d %s", i, got.status, got.body, wanted, reason)
				}
			}
		}
		use(state, http.StatusOK, "")
		gone := s.call(s.ownerKey, http.MethodPost, "/api/v1/mandates/"+made.member("mandate_id")+"/revoke", map[string]any{"wait": 0})
		if gone.status >= http.StatusBadRequest {
			t.Fatalf("a revocation is answered %d %s", gone.status, gone.body)
		}
		use(gone.header.Get(authority.StateHeader), http.StatusForbidden, authority.ReasonMandateRevoked)
	}
	for _, e := range edges { // one that has nothing to wait for answers at once
		state := s.call(s.ownerKey, http.MethodGet, "/api/v1/mandates", nil).header.Get(authority.StateHeader)
		eventually(t, "an idle gateway is up to date", func() bool {
			request := e.request(http.MethodPost, "mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", upstreamHost, "/")
			request.Header.Set(authority.StateHeader, state)
			return must(send(e.client(), request))(t).member("error") == string(authority.ReasonMandateNotFound)
		})
	}
	for _, r := range s.upstream.Requests() {
		if r.Header.Get(authority.StateHeader) != "" {
			t.Fatal("a state reaches the upstream")
		}
	}
}
