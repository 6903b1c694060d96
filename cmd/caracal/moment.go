package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exactly is a field for people who look at one thing: times as they are, and how far away.
func (o *output) exactly(f field) string {
	if at, ok := momentOf(f); ok {
		return f.text + "  (" + relative(at, o.now()) + ")"
	}
	if d, ok := secondsOf(f); ok {
		return f.text + "  (" + duration(d) + ")"
	}
	return f.text
}

// briefly is a field in a list: times as how far away they are. --output json has them exactly.
func (o *output) briefly(f field) string {
	if at, ok := momentOf(f); ok {
		return relative(at, o.now())
	}
	if d, ok := secondsOf(f); ok {
		return duration(d)
	}
	if name := o.names[f.text]; name != "" && strings.HasSuffix(f.name, "_id") {
		return name
	}
	return f.text
}

// momentOf reads a field that is a time by its name.
func momentOf(f field) (time.Time, bool) {
	if !strings.HasSuffix(f.name, "_at") && !slices.Contains([]string{"time", "valid_from", "valid_until", "usable_until", "not_before"}, f.name) {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, f.text)
	return at, err == nil
}

func secondsOf(f field) (time.Duration, bool) {
	if !strings.HasSuffix(f.name, "_seconds") {
		return 0, false
	}
	n, err := strconv.ParseInt(f.text, 10, 32)
	return time.Duration(n) * time.Second, err == nil && n > 0
}

// relative says how far away a moment is, in its largest unit, or two of them where one would say too little.
func relative(at, now time.Time) string {
	d := at.Sub(now)
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return duration(-d) + " ago"
	}
	return "in " + duration(d)
}

const day = 24 * time.Hour

// duration is rounded to what it shows: what lasts an hour is not 59 minutes long when it is a moment old.
func duration(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i := len(units) - 1; i >= 0; i-- { // what is rounded up to a larger unit is shown in that
		if u := units[i].size; d >= 10*u {
			d = d.Round(u)
		} else if i+1 < len(units) && d >= u {
			d = d.Round(units[i+1].size)
		}
	}
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d%s", n, u.name)
		if i+1 < len(units) && n < 10 {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}
