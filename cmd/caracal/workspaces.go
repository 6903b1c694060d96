package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The bounds of how long a deleted workspace can be restored.
const (
	minGrace = time.Hour
	maxGrace = 365 * 24 * time.Hour
)

// grace is how long a deleted workspace can be restored.
func (v *values) grace() (time.Duration, error) {
	grace, err := time.ParseDuration(v.text("workspace-grace"))
	if err != nil || grace < minGrace || grace > maxGrace {
		return 0, &usageError{"CARACAL_WORKSPACE_GRACE must be a duration from 1h to 8760h, such as 720h"}
	}
	return grace, nil
}

// quotas are the limits that replace the defaults.
func (v *values) quotas() (map[string]int64, error) {
	text := v.text("quotas")
	if text == "" {
		return nil, nil
	}
	limits := map[string]int64{}
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		limit, err := strconv.ParseInt(number, 10, 64)
		if _, twice := limits[name]; err != nil || twice {
			return nil, &usageError{fmt.Sprintf("CARACAL_QUOTAS has %q, which is not name=number, each name once", part)}
		}
		limits[name] = limit
	}
	return limits, nil
}
