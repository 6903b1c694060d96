package extauthz

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Recorder takes the record of every decision. Its methods do not block: what there is no room for is lost, and
// counted.
type Recorder interface {
	// Record takes the event of one decision, before the decision is answered.
	Record(authority.Event)
	// Outcome takes what Envoy did with the request of a decision, after it has ended.
	Outcome(authority.DecisionID, authority.Outcome)
}

// judgement is what a check finds out on its way, for the record of its decision. It says nothing about how the check
// ends.
type judgement struct {
	id    authority.DecisionID
	at    time.Time
	shown time.Time // when the caller showed its credential
	// pinned is the mandate that a request which is judged again was permitted by; empty at first.
	pinned   authority.MandateID
	snapshot *Snapshot // nil as long as there is none
	request  *request  // nil for a call that only asks
	findings
}

// findings are what one snapshot had to say. They are made anew when the check starts over with another one.
type findings struct {
	caller authority.PrincipalID
	// certificate is the one that the mandate was presented with; empty for none.
	certificate authority.Thumbprint
	mandate     authority.MandateID
	target      *authority.Target
	resource    authority.Resource
	action      authority.Action
	inquiry     bool // nobody presented the mandate: its issuer or an owner asks
	selected    bool // the caller named no mandate: it was chosen among the caller's own

	credential credential          // that the caller showed
	bound      authority.MandateID // the only one that the caller's token is good for; empty for any
	name       string              // the caller's
}

// Bounds of what is kept of one request. A longer path is cut, and the digest of the whole stands behind it.
const (
	maxRecordedPath   = 1024
	maxRecordedNames  = 32
	maxRecordedName   = 64
	maxRecordedMethod = 32
)

// event is the record of a decision that ended in this denial, or in none.
func (j *judgement) event(allowed authority.EventType, denial *Denial) authority.Event {
	e := authority.Event{
		ID: authority.NewID[authority.EventID](), Type: allowed, Time: j.at, DecisionID: j.id,
		ActorID: j.caller, PrincipalID: j.caller, Resource: j.resource, Action: j.action,
		// What is denied before a mandate is judged counts among what is done under the one that the token is bound to.
		MandateID: cmp.Or(j.mandate, j.bound),
	}
	if j.snapshot != nil {
		e.WorkspaceID, e.Revision, e.RegoVersion = j.snapshot.workspace.ID, j.snapshot.revision, j.snapshot.regoVersion
	}
	if denial != nil {
		e.Type, e.Reason, e.Message, e.PolicyCode = authority.EventDenied, denial.Reason, denial.Message, denial.Code
	}
	e.Detail = j.detail()
	if j.request != nil {
		e.Request = recordRequest(j.request, j.target)
	}
	return e
}

// detail is what only some decisions have; nil for none.
func (j *judgement) detail() map[string]any {
	detail := map[string]any{}
	if j.inquiry {
		detail["inquiry"] = true
	}
	if j.certificate != "" {
		detail["certificate"] = string(j.certificate)
	}
	if j.selected {
		detail["selected"] = true
	}
	if j.request != nil && j.request.within != nil {
		detail["tunnel"] = string(j.request.within.decision)
	}
	if j.request != nil && j.request.envoy != "" {
		detail["envoy"] = j.request.envoy
	}
	if len(detail) == 0 {
		return nil
	}
	return detail
}

func recordRequest(r *request, target *authority.Target) *authority.RequestRecord {
	record := &authority.RequestRecord{Mode: r.mode(), Method: clip(r.method, maxRecordedMethod), Source: r.asker().source}
	if target != nil {
		record.Scheme, record.Host, record.Port = target.Scheme, target.Host, target.Port
		record.Path, record.Query = clip(target.Path, maxRecordedPath), parameterNames(target.Query)
	}
	return record
}

// clip cuts what is too long to keep, in a way that two different texts never look the same.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	digest := sha256.Sum256([]byte(text))
	return text[:limit] + "…sha256:" + hex.EncodeToString(digest[:16])
}

// parameterNames are the names in a query, without the values, which can be secrets. A query without `=` is a value.
func parameterNames(query string) []string {
	if query == "" {
		return nil
	}
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		if len(names) == maxRecordedNames {
			return append(names, "…")
		}
		names = append(names, clip(name, maxRecordedName))
	}
	return names
}
