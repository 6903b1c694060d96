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
