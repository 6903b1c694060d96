package authority

// Action is what is done to a resource.
type Action string

// The three actions.
const (
	Read    Action = "read"
	Write   Action = "write"
	Execute Action = "execute"
)

// Actions is a set of actions, stored sorted and without duplicates (execute, read, write).
type Actions []Action
