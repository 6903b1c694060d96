package lease

// Position is a state of a workspace: a revision, and the timeline that it counts in.
type Position struct {
	Timeline string
	Revision uint64
}

// Relation is how what a gateway enforces stands to what the database holds.
type Relation int

// The relations. The zero Relation is none.
const (
	_       Relation = iota
	Behind           // the database has what the gateway enforces, and may have more
	Beyond           // the gateway enforces what the database does not have: the database was set back
	Foreign          // the gateway enforces a state of another timeline, or none: its revision says nothing
)

// Compare relates what a gateway says to enforce to what the database holds. The digest of what both have at the same
// revision is compared elsewhere.
func Compare(says, database Position) Relation {
	switch {
	case says.Timeline != database.Timeline:
		return Foreign
	case says.Revision > database.Revision:
		return Beyond
	}
	return Behind
}

// Counts is the revision that a renewal or an acknowledgement of a gateway counts for: 0 when it is about another
// timeline. The model runs it; a control plane asks for more, that the gateway was given or names the very state which the
// database has under the revision.
func Counts(says Position, timeline string) uint64 {
	if says.Timeline != timeline {
		return 0
	}
	return says.Revision
}

// Accepts reports whether a gateway moves on from what it enforces to what it is offered. It never goes back; to another
// timeline it goes only where a signature says that the timeline succeeds its own. The model runs it; a gateway asks the
// same of what is signed as it opens that.
func Accepts(held, offered Position, successor bool) bool {
	switch {
	case held == Position{}:
		return true
	case held.Timeline == offered.Timeline:
		return offered.Revision >= held.Revision
	}
	return successor
}
