package controlplane

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Waits are measured on the one clock of the host that services which keep clocks right do not turn.
func TestTheSteadyClockIsTheOneThatNobodyTurns(t *testing.T) {
	raw := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	before := raw()
	if got, after := steadyTime(), raw(); got < before || got > after {
		t.Errorf("it says %v, the raw clock %v to %v", got, before, after)
	}
}
