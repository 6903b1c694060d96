package controlplane

import "github.com/caracal-gateway/caracal/authority"

// RegoPush is a new version of the workspace's Rego policy. Modules maps paths to texts, tests included.
type RegoPush struct {
	Modules  map[string]string `json:"modules"`
	Data     map[string]any    `json:"data"`
	Message  string            `json:"message"`
	Activate bool              `json:"activate"`
}

// InvalidRego says why a version of a Rego policy was not stored.
type InvalidRego struct {
	Problems []RegoProblem
}

// RegoProblem is one thing that is wrong, at a place of a module or, for a failing test, under the test's name.
type RegoProblem struct {
	File    string `json:"file,omitempty"`
	Row     int    `json:"row,omitempty"`
	Column  int    `json:"column,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *InvalidRego) Error() string { return e.Unwrap().Error() }

// Unwrap is the invalid_request that the problems amount to.
func (e *InvalidRego) Unwrap() error {
	if len(e.Problems) == 0 {
		return authority.Invalid("modules", "the policy is not valid")
	}
	p := e.Problems[0]
	return authority.Invalid("modules", "%s:%d: %s (%d problems in all)", p.File, p.Row, p.Message, len(e.Problems))
}
