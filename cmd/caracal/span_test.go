package main

import (
	"testing"
	"time"
)

func TestLengthsOfTimeAreReadWithDays(t *testing.T) {
	cases := map[string]struct {
		text string
		want time.Duration // negative for a refusal
	}{
		"hours":                   {"24h", 24 * time.Hour},
		"a mixture":               {"1h30m", 90 * time.Minute},
		"days":                    {"30d", 30 * day},
		"days and hours":          {"1d12h", 36 * time.Hour},
		"no time at all":          {"0s", 0},
		"no day at all":           {"0d", 0},
		"nothing":                 {"", -1},
		"a part of a second":      {"1500ms", -1},
		"days and a part":         {"1d0.5s", -1},
		"a number without a unit": {"30", -1},
		"half a day":              {"1.5d", -1},
		"days that go back":       {"-1d", -1},
		"days and less than none": {"1d-1h", -1},
		"two numbers of days":     {"1d2d", -1},
		"more than can be told":   {"4000000d", -1},
		"a little more than that": {"106751d24h", -1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got span
			err := got.Set(tc.text)
			if refused := tc.want < 0; (err != nil) != refused || !refused && time.Duration(got) != tc.want {
				t.Errorf("%q is read as %s, %v", tc.text, time.Duration(got), err)
			}
		})
	}
}

func TestAMomentIsRoundedToWhatIsShown(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	for want, d := range map[string]time.Duration{
		"now":       900 * time.Millisecond,
		"in 9s":     9*time.Second + 100*time.Millisecond,
		"in 1m31s":  91 * time.Second,
		"in 1h":     time.Hour - 700*time.Millisecond,
		"in 3h30m":  3*time.Hour + 29*time.Minute + 40*time.Second,
		"in 12h":    12*time.Hour - time.Second,
		"in 1d":     day - time.Second,
		"in 30d":    30*day - time.Minute,
		"2m18s ago": -138 * time.Second,
		"1d5h ago":  -29 * time.Hour,
		"in 10d":    10*day - time.Minute,
		"in 59m":    59*time.Minute + 20*time.Second,
	} {
		if got := relative(now.Add(d), now); got != want {
			t.Errorf("%s away is %q, want %q", d, got, want)
		}
	}
}
