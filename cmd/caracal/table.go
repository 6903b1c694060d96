package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// The colours of a terminal that mean something here.
const (
	faint  = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// colourOf is the colour of a word that says how something is; empty for any other.
func colourOf(word string) string {
	switch word {
	case "denied", "revoked", "expired", "suspended", "fail", "fenced", "gone", "unavailable", "deleted":
		return red
	case "pending", "warn", "degraded", "behind", "archived", "leaving", "not yet", "retired":
		return yellow
	case "allowed", "active", "enforced", "ok", "in_sync", "connected", "current":
		return green
	}
	return ""
}

// cell is one text of a table, printable already.
type cell struct{ text, colour string }

// table aligns columns. Colours take no room.
type table struct{ rows [][]cell }

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer, colour bool) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			if colour && c.colour != "" {
				b.WriteString(c.colour + c.text + plain)
			} else {
				b.WriteString(c.text)
			}
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
