package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// TestMain lets the test program be the services that are compared, each in a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := run(context.Background(), os.Stderr, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

// The comparison is worth something only where every service judges every call as the scenario says.
func TestTheServicesThatAreComparedDecideAsTheScenarioSays(t *testing.T) {
	dir := t.TempDir()
	s := newScenario(time.Now())
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	allowed := 0
	for _, c := range s.requests {
		if c.Allowed {
			allowed++
		}
	}
	if allowed != len(s.requests)*9/10 {
		t.Errorf("%d of %d calls are allowed", allowed, len(s.requests))
	}
	load := shape{2, 4}
	for _, c := range contenders("", "") {
		m, err := measure(t.Context(), s, dir, c, load, 300*time.Millisecond)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if m.decisions == 0 || m.cpu == 0 || len(m.latencies) != m.decisions {
			t.Errorf("%s made %d decisions in %s of a processor's time", c.name, m.decisions, m.cpu)
		}
	}
}

// What the gateway is compared with has to do the same: forward, carry tunnels, and end TLS and begin it again.
func TestThePlainEnvoyServesEachRoad(t *testing.T) {
	p := &proxying{ways: &ways{site: &site{dir: t.TempDir()}}}
	t.Cleanup(p.close)
	if err := p.openPlain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.roads()[:ownRoads] {
		if err := r.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		found, err := r.travel(2, 90*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if found.decisions == 0 || found.envoy == 0 {
			t.Errorf("%s: %d requests in %s of Envoy's time", r.name, found.decisions, found.envoy)
		}
	}
	// Whose certificate a client sees tells whether the tunnel was carried unseen.
	for host, seen := range map[string]bool{opaqueHost: false, inspectedHost: true} {
		c, err := p.plain.secure(host, "h2", "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		if inside := c.ConnectionState().NegotiatedProtocol == "h2"; inside != seen { // the upstream has HTTP/1.1 only
			t.Errorf("the tunnel to %s is looked into: %t", host, inside)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
