package sync

import "context"

// How many calls ask the database at once: a thousand gateways that come at the same time would otherwise hold every
// connection, and wait for one until each of their transactions fails. Those who bring events wait for each other only.
const (
	maxOpening   = 3
	maxRecording = 2
)

// places are taken by those who ask the database, one each.
type places chan struct{}

// inTurn asks for something once a place is free. A gateway that has gone meanwhile takes none.
func inTurn[T any](ctx context.Context, p places, ask func() (T, error)) (T, error) {
	var none T
	select {
	case p <- struct{}{}:
		defer func() { <-p }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	return ask()
}
