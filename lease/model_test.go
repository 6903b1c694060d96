package lease_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// coarse is a tick of which the shortest term takes two: a gateway's clock that misses one runs slower than any does.
const coarse = lease.MinTerm / 2

// partitioned has gateways and replicas that may not hear of each other for as long as it takes.
func partitioned() model {
	return model{
		rules: production(), tick: coarse, terms: []time.Duration{lease.MinTerm},
		gateways: 1, replicas: 1, changes: 1, exchanges: 1, slow: 1, watches: true, freezes: true,
	}
}

// stalled looks at one gateway with a fine tick.
func stalled() model {
	m := partitioned()
	m.tick, m.slow, m.once, m.prompt = lease.MinTerm/10, 2, true, true
	return m
}

func restarted() model {
	m := partitioned()
	m.kills, m.fullDisk, m.surrender, m.freezes = true, true, true, false
	return m
}

func shortened() model {
	m := partitioned()
	m.exchanges, m.watches, m.freezes, m.prompt, m.slow = 2, false, false, true, 0
	m.terms = []time.Duration{3 * lease.MinTerm, lease.MinTerm}
	return m
}

func restored() model {
	m := partitioned()
	m.changes, m.restores, m.freezes, m.watches = 2, true, false, false
	return m
}

func two() model {
	m := partitioned()
	m.gateways, m.prompt, m.freezes, m.slow = 2, true, false, 0
	return m
}

func two2() model {
	m := two()
	m.replicas, m.forgets = 2, true
	return m
}

func rep2() model {
	m := partitioned()
	m.replicas, m.forgets = 2, true
	return m
}

func TestSize(t *testing.T) {
	limit := 3_000_000
	if n, err := strconv.Atoi(os.Getenv("LIM")); err == nil {
		limit = n
	}
	for name, f := range map[string]func() model{"partitioned": partitioned, "stalled": stalled, "restarted": restarted, "shortened": shortened, "restored": restored, "two": two, "two2": two2, "rep2": rep2} {
		m := f()
		begin := time.Now()
		got := m.search(limit, []violation{permitAfter, streamAfter, overlap}, nil)
		t.Logf("%s: %d states, depth %d, complete %t, breaks %q in %v", name, got.states, got.depth, got.complete, got.breaks, time.Since(begin))
		if got.breaks != none {
			for _, s := range got.path {
				t.Log("  ", s)
			}
		}
	}
}

func TestModelIsRefutedByEachMutant(t *testing.T) {
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			m := mutant.in()
			mutant.change(&m.rules)
			got := m.search(2_000_000, []violation{mutant.breaks}, nil)
			t.Logf("%d states, depth %d, complete %t, breaks %q in %v", got.states, got.depth, got.complete, got.breaks, time.Since(begin))
			if got.breaks == none {
				t.Fatal("not refuted")
			}
		})
	}
}
