package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Key is what a list is sorted by.
type Key string

// The keys of sorting. Which of them a list has is its reader's to say.
const (
	ByCreation Key = "created_at"
	ByName     Key = "name"
	ByEnd      Key = "valid_until"
	ByTime     Key = "time"
)

// Order is how a list is sorted: by a key, and among equals by the id.
type Order struct {
	Key       Key
	Ascending bool
}

// Page is a part of a list: at most Size items after a place in its order. The first part has no AfterID. Without a key
// the list is sorted by creation, the newest first.
type Page struct {
	Size          int32
	Order         Order
	AfterTime     time.Time // of lists that are sorted by an instant
	AfterName     string    // of lists that are sorted by name
	AfterSequence int64     // of events
	AfterID       string
}

// Created narrows a list to what was created between two instants, both exclusive; a zero one does not.
type Created struct {
	After  time.Time
	Before time.Time
}

// selection is the statement of a list while it is put together. Its text is made of this package's own words alone: what
// a caller says goes beside it, as a parameter.
type selection struct {
	text strings.Builder
	args []any
}

// from begins a selection of the transaction's workspace.
func (t *Tx) from(columns, table string) *selection {
	s := &selection{args: []any{string(t.workspace)}}
	s.text.WriteString("SELECT " + columns + " FROM " + table + " WHERE workspace_id = $1")
	return s
}

// parameter puts a value beside the text and answers its name.
func (s *selection) parameter(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// where adds a condition, if the filter sets it. Each ? of the condition is the value.
func (s *selection) where(set bool, condition string, value any) *selection {
	if set {
		s.text.WriteString(" AND (" + strings.ReplaceAll(condition, "?", s.parameter(value)) + ")")
	}
	return s
}

// named narrows to names that begin with a text. It asks for the range in which these lie, which the index has, and no
// pattern, so that a text means nothing but itself.
func (s *selection) named(prefix string) *selection {
	return s.where(prefix != "", `name COLLATE "C" >= ?::text AND name COLLATE "C" < ?::text || chr(1114111)`, prefix)
}

func (s *selection) created(c Created) *selection {
	return s.where(!c.After.IsZero(), "created_at > ?", c.After).where(!c.Before.IsZero(), "created_at < ?", c.Before)
}

// page ends the statement: a place in the order, the order, and how many.
func (s *selection) page(p Page) *selection {
	column, after := "created_at", any(p.AfterTime)
	switch p.Order.Key {
	case ByName:
		column, after = `name COLLATE "C"`, p.AfterName
	case ByEnd:
		column = "valid_until"
	case ByCreation, ByTime:
	}
	direction, beyond := "DESC", "<"
	if p.Order.Ascending {
		direction, beyond = "ASC", ">"
	}
	if p.AfterID != "" {
		fmt.Fprintf(&s.text, " AND (%s, id) %s (%s, %s)", column, beyond, s.parameter(after), s.parameter(p.AfterID))
	}
	fmt.Fprintf(&s.text, " ORDER BY %s %s, id %s LIMIT %s", column, direction, direction, s.parameter(p.Size))
	return s
}

// collect reads the rows of a selection, whose columns are the fields of T in their order.
func collect[T any](ctx context.Context, t *Tx, s *selection) ([]T, error) {
	rows, err := t.tx.Query(ctx, s.text.String(), s.args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
