package gateway

import (
	"bytes"
	"context"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
	"github.com/caracal-gateway/caracal/token"
)

const (
	first = 7 // revision of the world
	last  = first + 4
	// shortTime is how long a request to the destination lasts that is not watched.
	shortTime = time.Second
	// subjects is how many mandates there are. The last is never revoked.
	subjects = 4
)

// revokes is the mandate that a revision revokes; false for one that takes nothing away.
func revokes(revision uint64) (mandate int, ok bool) {
	switch revision {
	case first + 1:
		return 0, true
	case first + 3:
		return 1, true
	case first + 4:
		return 2, true
	}
	return 0, false
}

// inception is when every simulation begins: where the clock of a bubble stands first.
func inception() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// elapsed is the true time since then.
func elapsed() time.Duration { return time.Since(inception()) }

// elapse lets simulated time pass.
func elapse(d time.Duration) { <-time.After(d) }

// script is what a workspace is at each revision, sealed once for all simulations.
type script struct {
	root    token.Fingerprint
	sealed  bundle.Sealed
	deltas  [][]byte
	watched [subjects]*authv3.CheckRequest
	short   [subjects]*authv3.CheckRequest
}

func newScript(t *testing.T) *script {
	t.Helper()
	w := world.New(t, inception())
	w.State.Workspace.Settings.ShortRequestSeconds = 2
	for i := range w.State.Destinations {
		if w.State.Destinations[i].Host == world.ModelHost {
			w.State.Destinations[i].MaxDurationSeconds = int64(shortTime / time.Second)
		}
	}
	s := &script{root: w.Root.Fingerprint()}
	var mandates [subjects]authority.MandateID
	bearer := w.Token(w.Agent.ID)
	for i := range mandates {
		mandates[i] = w.Issue(w.Agent.ID, authority.Scope{
			Resources: []authority.ResourcePattern{"api:echo/*", "api:model"}, Actions: authority.Actions{authority.Execute},
		}).ID
		s.watched[i] = proxied(bearer, mandates[i], "https://echo.caracal.test:9443/v1/stream")
		s.short[i] = proxied(bearer, mandates[i], "https://api.model.test/v1/chat")
	}
	s.sealed = w.Seal()
	index := w.Index()
	for revision := uint64(first + 1); revision <= last; revision++ {
		var edits bundle.Edits
		if m, ok := revokes(revision); ok {
			w.Revoke(mandates[m])
			edits.Mandates.Set = w.State.Mandates
		} else {
			edits.Principals.Set = append(edits.Principals.Set, w.Register("another", authority.Agent))
		}
		s.deltas = append(s.deltas, w.Delta(index, edits))
	}
	return s
}

// states are all revisions as gateways enforce them.
type states struct {
	*script
	timeline  string
	snapshots map[uint64]*extauthz.Snapshot
	changes   map[uint64]extauthz.Change // from the revision before
}

// open makes the states anew: what evaluates their policy belongs to one bubble.
func (s *script) open() (*states, error) {
	r, err := bundle.NewReader(bytes.NewReader(s.sealed), bundle.Trust{Root: s.root})
	if err != nil {
		return nil, err
	}
	present, err := extauthz.NewSnapshot(context.Background(), r)
	if err != nil {
		return nil, err
	}
	trust := bundle.Trust{Root: s.root}.Enforced(r.Snapshot, r.Keys)
	all := &states{
		script: s, timeline: trust.Timeline,
		snapshots: map[uint64]*extauthz.Snapshot{trust.Revision: present}, changes: map[uint64]extauthz.Change{},
	}
	for _, sealed := range s.deltas {
		d, keys, err := bundle.OpenDelta(sealed, trust)
		if err != nil {
			return nil, err
		}
		next, change, err := present.Apply(context.Background(), d, keys)
		if err != nil {
			return nil, err
		}
		present, trust = next, trust.Advanced(d, keys)
		all.snapshots[d.Revision], all.changes[d.Revision] = next, change
	}
	return all, nil
}

// change is what differs between two revisions.
func (s *states) change(from, to uint64) extauthz.Change {
	var all extauthz.Change
	for revision := from + 1; revision <= to; revision++ {
		c := s.changes[revision]
		all.All = all.All || c.All
		all.Mandates, all.Principals = append(all.Mandates, c.Mandates...), append(all.Principals, c.Principals...)
	}
	return all
}

// proxied is how Envoy describes a call.
func proxied(bearer string, mandate authority.MandateID, target string) *authv3.CheckRequest {
	var headers []*corev3.HeaderValue
	for _, h := range [][2]string{
		{":authority", "localhost:8443"}, {":path", "/api/proxy"}, {":method", "POST"}, {":scheme", "http"},
		{"authorization", "Bearer " + bearer}, {"x-caracal-mandate", string(mandate)}, {"x-caracal-target-url", target},
		{"x-forwarded-proto", "http"},
	} {
		headers = append(headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.2", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 60980}},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "18221812780971847111", Method: "POST", Path: "/api/proxy", Host: "localhost:8443", Scheme: "http", Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: headers},
		}},
		ContextExtensions: map[string]string{envoy.ModeKey: envoy.ModeGateway},
	}}
}
