package extauthz

import (
	"fmt"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
)

// choose finds the mandate that a request is judged by: the one that is named, or where the mode selects, the one that says
// most closely what is asked. A request that is judged again stays with the mandate that it was permitted by.
func (j *judgement) choose(m mode, actions []authority.Action) error {
	named, err := j.named(m)
	if err != nil || named {
		return err
	}
	j.selected = true
	if j.pinned != "" {
		j.mandate = j.pinned
		return nil
	}
	if j.mandate = j.closest(actions); j.mandate == "" {
		j.selected = false
		return j.noneApplies(actions)
	}
	return nil
}

// maxNotGenuine bounds how many mandates are passed over that do not say what was signed.
const maxNotGenuine = 16

// closest is the caller's genuine mandate that says most closely what is asked; empty for none.
func (j *judgement) closest(actions []authority.Action) authority.MandateID {
	q := authority.Inquiry{Presenter: j.caller, Certificate: j.certificate, Resource: j.resource, At: j.at}
	var passed []authority.MandateID
	for len(passed) < maxNotGenuine {
		var ok bool
		if q.Mandate, ok = j.snapshot.selects(q, passed, actions...); !ok {
			return ""
		}
		if j.genuine(authority.Live(j.snapshot, q).Chain) == nil {
			return q.Mandate
		}
		passed = append(passed, q.Mandate)
	}
	return ""
}

// named reads the mandate that a request names: in its own header, beside its credential, by the tunnel that it came
// through, or by a token that is good for one only. It is false where there is none and one is to be selected.
func (j *judgement) named(m mode) (bool, error) {
	asked := ""
	for _, id := range []string{j.request.value(headerMandate), j.request.asker().value(headerMandate), j.credential.mandate} {
		if id != "" && asked != "" && id != asked {
			return false, deny(authority.ReasonAmbiguousMandate, "The request names more than one mandate.")
		}
		if id != "" {
			asked = id
		}
	}
	if asked == "" && m.selects {
		asked = string(j.bound)
	}
	if asked == "" {
		if m.selects {
			return false, nil
		}
		return false, deny(authority.ReasonMissingMandate, "The request needs the header X-Caracal-Mandate.")
	}
	mandate, err := authority.ParseID[authority.MandateID](asked)
	if err != nil {
		return false, because(authority.ReasonMandateNotFound)
	}
	if j.bound != "" && mandate != j.bound {
		return false, because(authority.ReasonTokenBound)
	}
	j.mandate = mandate
	return true, nil
}

// noneApplies says what would have been needed.
func (j *judgement) noneApplies(actions []authority.Action) error {
	needed, err := authority.ParseActions(actions)
	if err != nil {
		return fmt.Errorf("select a mandate: %w", err)
	}
	return j.without("covers %s on %s", strings.Join(plain(needed), ", "), j.resource)
}

// without denies what no mandate of the caller does, unless none of them could do anything.
func (j *judgement) without(does string, what ...any) error {
	if caller, _ := j.snapshot.Principal(j.caller); caller.Suspended {
		return deny(authority.ReasonSuspended, "The principal is suspended.")
	}
	return deny(authority.ReasonNoMandateApplies, "No live mandate of %s %s: request one.", clip(j.name, maxRecordedName), fmt.Sprintf(does, what...))
}
