package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// span is a flag for a length of time in whole seconds, which is what the API counts in: a part of one would be lost. It
// takes days as well, which keys and policies are counted in and time.ParseDuration does not know.
type span time.Duration

// seconds is how such flags are read.
const seconds = "such as 90s, 15m, 24h or 30d"

func spanFlag(c *cobra.Command, into *time.Duration, name string, standard time.Duration, meaning string) {
	*into = standard
	c.Flags().Var((*span)(into), name, meaning)
}

// Set reads days, alone or before hours, minutes and seconds.
func (s *span) Set(text string) error {
	whole := time.Duration(0)
	rest := text
	if count, after, ok := strings.Cut(text, "d"); ok {
		days, err := strconv.ParseUint(count, 10, 32)
		if err != nil || days > uint64(math.MaxInt64/day)-1 {
			return fmt.Errorf("%q is no length of time, %s", text, seconds)
		}
		whole, rest = time.Duration(days)*day, after
	}
	if rest != "" || whole == 0 && text != "0d" {
		parsed, err := time.ParseDuration(rest)
		if err != nil || whole > 0 && parsed < 0 || whole > math.MaxInt64-max(parsed, 0) {
			return fmt.Errorf("%q is no length of time, %s", text, seconds)
		}
		whole += parsed
	}
	if whole%time.Second != 0 {
		return fmt.Errorf("%q is no whole number of seconds", text)
	}
	*s = span(whole)
	return nil
}

// String is what the help shows as the default; nothing where there is none.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return duration(time.Duration(*s))
}

// Type is how the help calls the value.
func (s *span) Type() string { return "duration" }
