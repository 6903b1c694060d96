package gateway

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestGatewaysThatWereCutOffTogetherDoNotComeBackTogether(t *testing.T) {
	const herd = 1000
	// What the schedule promises is spread: in no tenth of the time that a try may take its turn in come more than a fifth
	// of all, and everyone comes within the bound.
	for sentence, c := range map[string]struct {
		lasted, every time.Duration
		failed        int
		bound         time.Duration
	}{
		"a control plane ends its streams":           {time.Hour, 20 * time.Second, 0, time.Second},
		"one that refuses connections, at first":     {time.Millisecond, 20 * time.Second, 0, 250 * time.Millisecond},
		"one that has refused for a while":           {time.Millisecond, 20 * time.Second, 9, 3 * time.Second},
		"a workspace of short leases, after a while": {time.Millisecond, 1666 * time.Millisecond, 9, 1666 * time.Millisecond},
	} {
		t.Run(sentence, func(t *testing.T) {
			waits := make([]time.Duration, herd)
			for i := range waits {
				again := retries{failed: c.failed}
				waits[i] = again.next(c.lasted, c.every, false)
			}
			slices.Sort(waits)
			if last := waits[herd-1]; last >= c.bound || last < c.bound/2 {
				t.Errorf("the last comes after %s, want up to %s", last, c.bound)
			}
			var tenths [10]int
			for _, wait := range waits {
				tenths[wait*10/c.bound]++
			}
			if most := slices.Max(tenths[:]); most > herd/5 {
				t.Errorf("%d of %d come within a tenth of the time: %v", most, herd, tenths)
			}
		})
	}
}

func TestAGatewayNeverWaitsLongerThanItMayGoWithoutAWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "every"))
		var again retries
		for range 40 {
			lasted := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "lasted"))
			if wait := again.next(lasted, every, false); wait < 0 || wait > min(every, retryPauseMax) {
				t.Fatalf("it waits %s, and wants to hear from the control plane every %s", wait, every)
			}
		}
	})
}

// A mistake at the control plane that is mended soon costs little, and a gateway that is revoked asks once a minute.
func TestAGatewayThatIsRefusedAsksEverMoreSeldom(t *testing.T) {
	var (
		again   retries
		elapsed time.Duration
		tries   []int // by the minute
	)
	for elapsed < 10*time.Minute {
		if minute := int(elapsed / time.Minute); minute == len(tries) {
			tries = append(tries, 0)
		}
		tries[len(tries)-1]++
		wait := again.next(time.Millisecond, time.Second, true)
		if elapsed < 10*time.Second && wait > 16*time.Second {
			t.Errorf("it waits %s after %s", wait, elapsed)
		}
		elapsed += wait
	}
	if tries[0] > 12 || slices.Max(tries[2:]) > 3 {
		t.Errorf("it tries %v times a minute", tries)
	}
}
