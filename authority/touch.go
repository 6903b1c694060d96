package authority

// TouchReport says which traffic a change of the catalog gives another resource or action, or refuses, or maps for the
// first time, where a live mandate may cover that traffic before or after the change.
type TouchReport struct {
	// Digest names the report. It is that of another one with the same traffic, subjects and scopes, whichever mandates
	// carry these scopes.
	Digest       string `json:"digest"`
	TrafficCount int    `json:"traffic_count"`
	MandateCount int    `json:"mandate_count"`
	// Traffic has the first 50, by their URLs.
	Traffic []TouchedTraffic `json:"traffic"`
}

// TouchedTraffic is one kind of requests, and the mandates that it is touched for.
type TouchedTraffic struct {
	Difference
	MandateCount int `json:"mandate_count"`
	// Mandates has the first ten, by their ids.
	Mandates []TouchedMandate `json:"mandates"`
}

// TouchedMandate is a live mandate that may cover the traffic.
type TouchedMandate struct {
	MandateID MandateID   `json:"mandate_id"`
	SubjectID PrincipalID `json:"subject_id"`
	Effect    TouchEffect `json:"effect"`
}

// TouchEffect is what a change of the catalog does to a mandate.
type TouchEffect string

// A mandate may cover traffic before the change, after it, or both times.
const (
	TouchLoses TouchEffect = "loses"
	TouchGains TouchEffect = "gains"
	TouchKeeps TouchEffect = "keeps"
)

// Touches is what the difference does to a mandate of these scopes; empty where it is none of its business.
func (d Difference) Touches(resources []ResourcePattern, actions Actions) TouchEffect {
	before, after := d.Before.Covered(resources, actions), d.After.Covered(resources, actions)
	switch {
	case before && after:
		return TouchKeeps
	case before:
		return TouchLoses
	case after:
		return TouchGains
	}
	return ""
}
