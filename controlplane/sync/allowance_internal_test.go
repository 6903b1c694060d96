package sync

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

func TestAnAllowanceGrowsBackAndIsOnesOwn(t *testing.T) {
	as := allowances{of: map[authority.GatewayID]allowance{}}
	now := time.Unix(1_700_000_000, 0)
	spend := func(id authority.GatewayID) (n int) {
		for as.take(id, costOfMessage, now) {
			n++
		}
		return n
	}
	if n := spend("one"); n != allowanceMost {
		t.Errorf("%d at once, want %d", n, allowanceMost)
	}
	now = now.Add(2 * time.Second)
	if n := spend("one"); n != 2*allowanceEach {
		t.Errorf("%d after two seconds, want %d", n, int(2*allowanceEach))
	}
	if n := spend("another"); n != allowanceMost {
		t.Errorf("another has %d", n)
	}
	now = now.Add(-time.Hour) // a clock that is set back gives nothing, and takes nothing
	if n := spend("one"); n != 0 {
		t.Errorf("%d for a clock that is set back", n)
	}
	for range 2 {
		as.give("one", giftOfChange, now)
	}
	if n := spend("one"); n != 6 {
		t.Errorf("%d after two changes", n)
	}
	now = now.Add(2 * time.Hour)
	if spend("a third"); len(as.of) != 1 {
		t.Errorf("%d are remembered, want the one that has spent something", len(as.of))
	}
	if n := spend("one"); n != allowanceMost {
		t.Errorf("%d after two hours, want %d and no more", n, allowanceMost)
	}
}

// A gateway of the shortest leases, whose line breaks every second, is never refused, however much changes.
func TestAHealthyGatewayIsNeverRefused(t *testing.T) {
	as := allowances{of: map[authority.GatewayID]allowance{}}
	now := time.Unix(1_700_000_000, 0)
	for second := range 3600 {
		now = now.Add(time.Second)
		asks := []float64{costOfStream, costOfMessage, costOfMessage, costOfMessage, costOfMessage} // renewal, question, Envoy's answer, refusal
		if second%10 == 0 {
			asks = append(asks, costOfWhole)
		}
		take := func(asks ...float64) {
			for _, cost := range asks {
				if !as.take("one", cost, now) {
					t.Fatalf("refused in the second %d", second)
				}
			}
		}
		take(asks...)
		for range second % 50 { // changes, each of which takes authority away and is of the catalog
			as.give("one", giftOfChange, now)
			take(costOfMessage, costOfMessage, costOfMessage)
		}
	}
}
