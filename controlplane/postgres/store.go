// Package postgres keeps the control plane's state in PostgreSQL, its only store.
package postgres

// Store is the database of one deployment.
type Store struct{}
