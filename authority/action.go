package authority

import "slices"

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

// AllActions is the set that `*` stands for.
func AllActions() Actions { return Actions{Execute, Read, Write} }

// ParseAction reads one action. Anything but the three, `*` included, is an invalid_request.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case Read, Write, Execute:
		return a, nil
	}
	return "", Invalid("", "%q is not an action: it is read, write or execute", clip(s))
}

// ParseActions reads a list of actions into the form that is stored: `*` expanded, sorted, without duplicates. An empty
// list is an invalid_request, because it would grant nothing; the Field of an error is the element's index, such as [1].
func ParseActions[S ~string](list []S) (Actions, error) {
	if len(list) == 0 {
		return nil, Invalid("", "names no action, and an empty list grants nothing")
	}
	if len(list) > maxListed {
		return nil, Invalid("", "has more than %d elements", maxListed)
	}
	set := make(Actions, 0, 3)
	for i, s := range list {
		if s == "*" {
			set = append(set, AllActions()...)
			continue
		}
		a, err := ParseAction(string(s))
		if err != nil {
			return nil, Within(index(i), err)
		}
		set = append(set, a)
	}
	slices.Sort(set)
	return slices.Compact(set), nil
}

// Contains reports whether the set holds the action.
func (a Actions) Contains(action Action) bool { return slices.Contains(a, action) }

// Covers reports whether every action of the other set is in this one.
func (a Actions) Covers(other Actions) bool {
	for _, action := range other {
		if !a.Contains(action) {
			return false
		}
	}
	return true
}
