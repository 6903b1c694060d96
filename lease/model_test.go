package lease_test

import (
	"os"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// coarse is a tick of which the shortest term takes two: a gateway's clock that misses one runs slower than any does.
const coarse = lease.MinTerm / 2

// partitioned has one gateway and one replica that do not hear of each other for as long as it takes.
func partitioned() model {
	return model{
		rules: production(), tick: coarse, terms: []time.Duration{lease.MinTerm},
		gateways: 1, replicas: 1, changes: 1, exchanges: 1, slow: 1, watches: true, freezes: true,
	}
}

// simple is the least in which most mutants show: messages arrive at once or never, clocks and processes go on.
func simple() model {
	m := partitioned()
	m.slow, m.freezes, m.prompt = 0, false, true
	return m
}

// paused is simple with decisions and messages that take as long as they like.
func paused() model {
	m := simple()
	m.prompt = false
	return m
}

// stalled looks at when a lease ends with a fine tick.
func stalled() model {
	m := partitioned()
	m.tick, m.slow, m.once, m.prompt = lease.MinTerm/8, 2, true, true
	return m
}

// restarted has a gateway that ends in every way, and starts from what it could keep.
func restarted() model {
	m := partitioned()
	m.kills, m.fullDisk, m.surrender, m.freezes, m.prompt, m.slow = true, true, true, false, true, 0
	return m
}

// shortened has a workspace that chooses a shorter term, and messages that overtake each other.
func shortened() model {
	m := partitioned()
	m.exchanges, m.watches, m.freezes, m.prompt, m.slow = 2, false, false, true, 0
	m.terms = []time.Duration{3 * lease.MinTerm, lease.MinTerm}
	return m
}

// restored has a database that is set back to before what gateways have seen.
func restored() model {
	m := partitioned()
	m.changes, m.restores, m.freezes, m.watches, m.prompt, m.slow = 2, true, false, false, true, 0
	return m
}

// several has two gateways, two revocations and two replicas that come and go.
func several() model {
	m := partitioned()
	m.gateways, m.replicas, m.changes, m.forgets = 2, 2, 2, true
	m.watches, m.freezes, m.prompt, m.slow = false, false, true, 0
	return m
}

// everything has all faults at once. It is too large to be seen whole.
func everything() model {
	m := several()
	m.watches, m.freezes, m.prompt, m.slow, m.kills, m.fullDisk, m.surrender, m.restores, m.exchanges = true, true, false, 1, true, true, true, true, 2
	m.terms = []time.Duration{2 * lease.MinTerm, lease.MinTerm}
	return m
}

const deep = "CARACAL_DEEP"

// marks say what a run of the model must have come across for its result to mean anything.
var marks = map[string]func(*state) bool{
	"a receipt says enforced": func(s *state) bool { return s.database.change[0].state == effective },
	"a receipt that waited says enforced": func(s *state) bool {
		return s.database.change[0].state == effective && s.database.change[0].holds != 0
	},
	"a lease is over": func(s *state) bool { return s.database.standing[0].over == 1 },
	"a stream is live while its revocation is pending": func(s *state) bool {
		return s.gateways[0].watch == 1 && s.database.change[0].state == pending
	},
	"a gateway decides on a lease from disk": func(s *state) bool {
		gw := &s.gateways[0]
		return gw.decision == permitted && gw.lease == gw.file && gw.acked == [2]uint8{}
	},
	"a gateway lags behind a receipt": func(s *state) bool {
		return s.database.change[0].state == effective && !s.denies(s.gateways[0].enforced, 0)
	},
	"a receipt of the new timeline says enforced": func(s *state) bool {
		return s.database.restored == 1 && s.database.change[1].state == effective
	},
	"a revocation is enforced that the backup had lost": func(s *state) bool {
		return s.database.redone == 1 && s.database.change[0].state == effective
	},
}

func TestModelHolds(t *testing.T) {
	const whole = 1 << 30
	always := []string{"a receipt says enforced", "a receipt that waited says enforced", "a lease is over", "a gateway lags behind a receipt"}
	for name, c := range map[string]struct {
		model       func() model
		limit       int // states
		deep        int
		comesAcross []string
	}{
		"of a gateway that is cut off":     {partitioned, whole, whole, append(always, "a stream is live while its revocation is pending")},
		"of when a lease ends, finely":     {stalled, whole, whole, append(always, "a stream is live while its revocation is pending")},
		"of gateways that start again":     {restarted, whole, whole, append(always, "a gateway decides on a lease from disk")},
		"of terms that change":             {shortened, whole, whole, always},
		"of a database that is set back":   {restored, whole, whole, append(always, "a receipt of the new timeline says enforced", "a revocation is enforced that the backup had lost")},
		"of several gateways and replicas": {several, 400_000, 40_000_000, []string{"a receipt says enforced"}},
		"of everything that can go wrong":  {everything, 200_000, 40_000_000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, limit := c.model(), c.limit
			if os.Getenv(deep) != "" {
				limit = c.deep
			}
			got := m.search(limit, []violation{permitAfter, streamAfter, overlap}, marks)
			t.Logf("%d states, %d steps deep, all of them: %t", got.states, got.depth, got.complete)
			if got.breaks != none {
				t.Fatalf("%s after %d steps:\n%s", got.breaks, len(got.path), got.path)
			}
			if limit == whole && !got.complete {
				t.Error("states were left out")
			}
			for _, mark := range c.comesAcross {
				if got.reached[mark] == 0 {
					t.Errorf("in no state %s", mark)
				}
			}
		})
	}
}

// A model that nothing refutes proves nothing: without any one of its rules the protocol breaks a promise.
func TestModelIsRefutedByEachMutant(t *testing.T) {
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mutant.in()
			mutant.change(&m.rules)
			got := m.search(4_000_000, []violation{mutant.breaks}, nil)
			if got.breaks == none {
				t.Fatalf("no run of %d states breaks a promise", got.states)
			}
			t.Logf("%s after %d steps, among %d states", got.breaks, len(got.path), got.states)
			if testing.Verbose() {
				t.Log(got.path)
			}
		})
	}
}
