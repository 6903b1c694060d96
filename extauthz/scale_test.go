package extauthz_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/world"
)

// sizes are in mandates; -bench picks among them by name.
var sizes = []int{10_000, 100_000, 1_000_000}

// crowded is a workspace with so many mandates: a tenth as many principals, some thousand different scopes, a third of
// them delegated from another.
func crowded(t testing.TB, count int) *world.World {
	w := world.New(t, start)
	random := rand.New(rand.NewPCG(1, 2))
	agents := make([]authority.PrincipalID, 0, count/10+1)
	for i := range count/10 + 1 {
		agents = append(agents, w.Register("agent "+strconv.Itoa(i), authority.Agent).ID)
	}
	policies := make([]authority.PolicyID, 50)
	for i := range policies {
		policies[i] = authority.NewID[authority.PolicyID]()
	}
	any := func(list []authority.PrincipalID) authority.PrincipalID { return list[random.IntN(len(list))] }
	for i := range count {
		m := w.Mandate
		m.ID, m.SubjectID, m.Signature = authority.NewID[authority.MandateID](), any(agents), signature()
		m.RequestedBy, m.PolicyID, m.PolicyVersion = m.SubjectID, policies[random.IntN(len(policies))], int64(random.IntN(5))
		m.ResourceScope = []authority.ResourcePattern{
			authority.ResourcePattern(fmt.Sprintf("api:external/service-%d/*", random.IntN(1000))), authority.ResourcePattern(fmt.Sprintf("db:orders/table-%d", random.IntN(5))),
		}
		m.ValidUntil = m.ValidFrom.Add(time.Duration(random.IntN(1e6)) * time.Second)
		m.CreatedAt = m.CreatedAt.Add(time.Duration(i) * time.Microsecond)
		if i > 0 && i%3 == 0 {
			parent := w.State.Mandates[len(w.State.Mandates)-1]
			m.ParentID, m.IssuerID, m.Level, m.DelegationDepth = &parent.ID, parent.SubjectID, parent.Level+1, 2
		}
		w.State.Mandates = append(w.State.Mandates, m)
	}
	return w
}

// heap is how many bytes are in use. What a pool or a finalizer holds survives a collection: it is repeated until it finds
// next to nothing.
func heap() int64 {
	var stats runtime.MemStats
	for before := uint64(math.MaxUint64); ; before = stats.HeapAlloc {
		runtime.GC()
		if runtime.ReadMemStats(&stats); stats.HeapAlloc+64<<10 > before {
			return int64(stats.HeapAlloc)
		}
	}
}

// opened is the snapshot of a bundle, and how many bytes of memory it takes.
func opened(t testing.TB, w *world.World, sealed bundle.Sealed) (*extauthz.Snapshot, int64) {
	t.Helper()
	before := heap()
	r, err := bundle.NewReader(bytes.NewReader(sealed), bundle.Trust{Root: w.Root.Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := extauthz.NewSnapshot(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot, heap() - before
}

func TestAMandateTakesLittleMemory(t *testing.T) {
	const count = 20_000
	w := crowded(t, count)
	sealed := w.Seal()
	all := w.State.Mandates
	w.State.Mandates = nil
	some, without := opened(t, w, w.Seal())
	many, with := opened(t, w, sealed)
	// The glossary of so few mandates weighs more with each of them than that of many.
	if each := float64(with-without) / count; each > 400 {
		t.Errorf("a mandate takes %.0f bytes", each)
	}
	t.Logf("with the mandates %d bytes, without %d", with, without)
	// What is let go of between the two measurements would count as memory that a mandate does not take.
	runtime.KeepAlive([]any{some, many, w, all, sealed})
}

// BenchmarkSeal makes a snapshot, as the control plane does.
func BenchmarkSeal(b *testing.B) {
	for _, count := range sizes {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			w := crowded(b, count)
			size := 0
			b.ResetTimer()
			for range b.N {
				size = len(w.Seal())
			}
			b.ReportMetric(float64(size)/float64(count), "B/mandate")
			b.ReportMetric(float64(size), "B")
		})
	}
}

// BenchmarkOpen makes of a sealed snapshot what decisions are made from, as a gateway does.
func BenchmarkOpen(b *testing.B) {
	for _, count := range sizes {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			w := crowded(b, count)
			sealed := w.Seal()
			w.State.Mandates = nil
			_, without := opened(b, w, w.Seal())
			var (
				snapshot *extauthz.Snapshot
				memory   int64
			)
			b.ResetTimer()
			for range b.N {
				snapshot, memory = opened(b, w, sealed)
			}
			b.ReportMetric(float64(memory-without)/float64(count), "heap-B/mandate")
			runtime.KeepAlive(snapshot)
		})
	}
}

// BenchmarkRevocation applies the delta that revokes one mandate, as a gateway does.
func BenchmarkRevocation(b *testing.B) {
	for _, count := range sizes {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			w := crowded(b, count)
			l := follow(b, w)
			revoked := w.State.Mandates[count/2]
			revoked.Revoked, revoked.RevokedAt, revoked.RevokedBy = true, &w.Now, w.Owner.ID
			edits := bundle.Edits{}
			edits.Mandates.Set = []authority.Mandate{revoked}
			sealed := l.Delta(l.index, edits)
			w.State.Mandates, l.index = nil, nil
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				d, keys, err := bundle.OpenDelta(sealed, l.trust)
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := l.snapshot.Apply(context.Background(), d, keys); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(sealed)), "B/delta")
		})
	}
}

// BenchmarkMandate looks one mandate up.
func BenchmarkMandate(b *testing.B) {
	for _, count := range sizes {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			w := crowded(b, count)
			ids := make([]authority.MandateID, 0, count)
			for _, m := range w.State.Mandates {
				ids = append(ids, m.ID)
			}
			snapshot, _ := opened(b, w, w.Seal())
			w.State.Mandates = nil
			runtime.GC()
			b.ReportAllocs()
			i := 0
			b.ResetTimer()
			for range b.N {
				if _, ok := snapshot.Mandate(ids[i]); !ok {
					b.Fatal("not known")
				}
				i = (i + 7919) % len(ids)
			}
		})
	}
}
