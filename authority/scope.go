package authority

// Scope is what a mandate grants: each of its actions on each of its resources. An empty list grants nothing.
type Scope struct {
	Resources []ResourcePattern `json:"resource_scope"`
	Actions   Actions           `json:"action_scope"`
}

// Permits reports whether the scope holds the action on the resource.
func (s Scope) Permits(r Resource, a Action) bool {
	return s.Actions.Contains(a) && s.Matches(r)
}

// Matches reports whether one of the scope's patterns matches the resource.
func (s Scope) Matches(r Resource) bool {
	for _, p := range s.Resources {
		if p.Matches(r) {
			return true
		}
	}
	return false
}

// Covers reports whether this scope permits everything that the other one permits: its actions hold the other's, and
// each of the other's patterns is covered by one of its own.
func (s Scope) Covers(other Scope) bool {
	return s.Actions.Covers(other.Actions) && s.uncovered(other.Resources) == ""
}

// uncovered finds the first pattern that none of the scope's own covers.
func (s Scope) uncovered(patterns []ResourcePattern) ResourcePattern {
	for _, wanted := range patterns {
		if !s.coversPattern(wanted) {
			return wanted
		}
	}
	return ""
}

func (s Scope) coversPattern(wanted ResourcePattern) bool {
	for _, p := range s.Resources {
		if p.Covers(wanted) {
			return true
		}
	}
	return false
}

// ParseScope reads a scope as a caller writes it into the form that is stored. The Field of an error begins with
// resource_scope or action_scope.
func ParseScope[R, A ~string](resources []R, actions []A) (Scope, error) {
	parsedResources, err := ParsePatterns(resources)
	if err != nil {
		return Scope{}, Within("resource_scope", err)
	}
	parsedActions, err := ParseActions(actions)
	if err != nil {
		return Scope{}, Within("action_scope", err)
	}
	return Scope{Resources: parsedResources, Actions: parsedActions}, nil
}
