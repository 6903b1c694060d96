package authority

import (
	"slices"
	"strconv"
	"strings"
)

// StateHeader is the header that carries states: on an answer the one that was written or read, on a request those that
// the answer has to know.
const StateHeader = "X-Caracal-State"

const (
	// MaxStates is how many states a request may name.
	MaxStates = 16
	// MaxStateHeader is the length of the longest text that names states, in bytes.
	MaxStateHeader = 2048
	// maxTimeline is more than the length of any timeline.
	maxTimeline = 64
)

// State is everything of a workspace up to a revision. Who has seen one, by writing or by reading it, is never answered from
// one before it: that is what a request asks for that names it.
type State struct {
	Timeline  string // the history that the revision counts in
	Workspace WorkspaceID
	Revision  uint64
}

// String is the state as headers carry it: `<timeline>/<workspace>:<revision>`. What comes before the colon names a history.
func (s State) String() string {
	return s.Timeline + "/" + string(s.Workspace) + ":" + strconv.FormatUint(s.Revision, 10)
}

// ParseState reads what String wrote, in exactly that spelling; anything else is an invalid_request about the header.
func ParseState(text string) (State, error) {
	history, number, counted := strings.Cut(text, ":")
	timeline, workspace, named := strings.Cut(history, "/")
	revision, err := strconv.ParseUint(number, 10, 64)
	s := State{Timeline: timeline, Workspace: WorkspaceID(workspace), Revision: revision}
	if !counted || !named || err != nil || len(timeline) > maxTimeline || timeline == "" || strings.ContainsFunc(timeline, notInTimeline) || s.String() != text {
		return State{}, Invalid(StateHeader, "a state is of the form <timeline>/<workspace>:<revision>")
	}
	if _, err := ParseID[WorkspaceID](workspace); err != nil {
		return State{}, Invalid(StateHeader, "a state names its workspace by its id")
	}
	return s, nil
}

func notInTimeline(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}

// ParseStates reads the states that a header names, separated by commas; none for the empty text. Of two in one history
// the later counts. Whatever is wrong with one of them is an invalid_request.
func ParseStates(text string) ([]State, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > MaxStateHeader {
		return nil, Invalid(StateHeader, "has at most %d bytes", MaxStateHeader)
	}
	parts := strings.Split(text, ",")
	if len(parts) > MaxStates {
		return nil, Invalid(StateHeader, "names at most %d states", MaxStates)
	}
	states := make([]State, 0, len(parts))
	for _, part := range parts {
		s, err := ParseState(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
}

// Standing says how far somebody who is to answer from a state is, compared with what the request has seen.
type Standing int

// The standings.
const (
	// UpToDate has seen all that the request has.
	UpToDate Standing = iota
	// Behind has not seen it yet, and may in a moment.
	Behind
	// Lost says that what the request has seen lies in a history that this one took the place of: it may be gone for good.
	Lost
)

// Compare holds the present state of a workspace against the states that a request has seen. Those of other workspaces do
// not count. past are the timelines that the present one took the place of; one that is neither is taken to come after.
func (s State) Compare(seen []State, past []string) Standing {
	worst := UpToDate
	for _, other := range seen {
		switch {
		case other.Workspace != s.Workspace, other.Timeline == s.Timeline && other.Revision <= s.Revision:
			continue
		case other.Timeline != s.Timeline && slices.Contains(past, other.Timeline):
			return Lost
		}
		worst = Behind
	}
	return worst
}
