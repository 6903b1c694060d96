// Package controlplane owns the state of workspaces: who may change it, by which rules, and what is told about it.
//
// Every operation takes the caller first and passes one choke point: authorise, validate, then one transaction that
// holds the change, its revision and the event that tells it. There is no other way to the store, so permission and
// record cannot be forgotten. What is refused is an event too.
package controlplane

import (
	"log/slog"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Config is what a Service needs.
type Config struct {
	Store *postgres.Store
	// MasterKey encrypts the private keys and the repeatable answers that the database holds; 32 bytes.
	MasterKey []byte
	// SetupKey lets its bearer create workspaces and list all of them. Empty means that nobody can.
	SetupKey string
	Log      *slog.Logger
	// Now is the control plane's clock.
	Now func() time.Time
}

// Written is the result of a change together with the revision of the workspace that holds it.
type Written[T any] struct {
	Value    T
	Revision uint64
}

// Page asks for one page of a list. Limit is at most MaxPage; 0 means DefaultPage. Cursor is the NextCursor of the
// page before, empty for the first.
type Page struct {
	Limit  int
	Cursor string
}

// The bounds of a page.
const (
	DefaultPage = 50
	MaxPage     = 200
)

// List is one page. NextCursor is empty on the last.
type List[T any] struct {
	Items      []T
	NextCursor string
}
