// Package migrations holds the schema of the database as numbered SQL files, applied in order and never undone.
//
// A file that has been released does not change. The next one works while the previous release still runs: it adds
// before anything is taken away.
package migrations

import "embed"

// Files are the migrations, `NNNN_name.sql` without gaps.
//
//go:embed *.sql
var Files embed.FS
