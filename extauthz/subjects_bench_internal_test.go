package extauthz

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// choosing is a snapshot of many mandates, and what their subjects ask.
type choosing struct {
	snapshot *Snapshot
	inquiry  authority.Inquiry
}

// newChoosing has so many mandates of one subject among others. Each may be used, unless what they were cut from is
// revoked, and the scope names one of a hundred resources, or the same for all.
func newChoosing(b *testing.B, own int, fit, revoked bool) choosing {
	b.Helper()
	const others = 100_000
	at := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	parent := plainMandate("prn_parent")
	parent.DelegationDepth, parent.Revoked = 3, revoked
	parent.ResourceScope, parent.ActionScope = []authority.ResourcePattern{"api:*"}, authority.AllActions()
	parent.ValidUntil = at.Add(48 * time.Hour)
	all := []authority.Mandate{parent}
	for i := range own + others {
		m := plainMandate("prn_agent")
		if i >= own {
			m.SubjectID = authority.PrincipalID("prn_other" + strconv.Itoa(i%20_000))
		}
		m.ParentID, m.IssuerID, m.Level, m.DelegationDepth = &parent.ID, "prn_parent", 1, 2
		m.ValidUntil = m.ValidFrom.Add(time.Duration(3600+i%7919) * time.Second)
		m.ActionScope, m.ResourceScope = authority.Actions{authority.Read}, []authority.ResourcePattern{"api:tools/*"}
		if !fit {
			m.ResourceScope = []authority.ResourcePattern{authority.ResourcePattern(fmt.Sprintf("api:service-%d/*", i%100))}
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b authority.Mandate) int { return cmp.Compare(a.ID, b.ID) })
	table := newMandatesBuilder("ws_own", &token.KeySet{}, len(all))
	for _, m := range all {
		table.add(bundle.Item[authority.Mandate]{Value: m})
	}
	s := &Snapshot{mandates: table.done(), principals: newShards[authority.PrincipalID, authority.Principal](4)}
	for _, id := range []authority.PrincipalID{"prn_agent", "prn_parent", "prn_issuer"} {
		s.principals.put(id, authority.Principal{ID: id, WorkspaceID: "ws_own"}, bundle.Digest{})
	}
	resource := authority.Resource("api:tools/search")
	if !fit {
		resource = "api:service-7/x"
	}
	runtime.GC()
	return choosing{s, authority.Inquiry{Presenter: "prn_agent", Resource: resource, At: at.Add(time.Minute)}}
}

// BenchmarkSelect chooses among the mandates of one subject.
func BenchmarkSelect(b *testing.B) {
	for _, own := range []int{1, 10, 1000, 10_000} {
		for _, c := range []struct {
			name         string
			fit, revoked bool
		}{{"few of them fit", false, false}, {"all of them fit", true, false}, {"all of them fit and none holds", true, true}} {
			b.Run(fmt.Sprintf("%d/%s", own, c.name), func(b *testing.B) {
				choice := newChoosing(b, own, c.fit, c.revoked)
				b.ReportAllocs()
				before := processor(b)
				b.ResetTimer()
				for range b.N {
					_, found := choice.snapshot.selects(choice.inquiry, nil, authority.Read)
					if found == c.revoked && own > 10 {
						b.Fatal("found:", found)
					}
				}
				b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processor is the processor time of this process: the clock on the wall also measures the machine's other work.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
