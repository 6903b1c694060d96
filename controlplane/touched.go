package controlplane

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// The bounds of what a authority.TouchReport tells. It counts the rest.
const (
	maxTouchedTraffic  = 50
	maxTouchedMandates = 10
)

// ChangesAuthority is the refusal of a change of the catalog that touches live mandates and whose caller has not accepted
// that by the report's digest.
type ChangesAuthority struct{ Report authority.TouchReport }

func (e *ChangesAuthority) Error() string { return e.Unwrap().Error() }

// Unwrap is the changes_authority that it amounts to.
func (e *ChangesAuthority) Unwrap() error {
	return &authority.Error{Code: authority.CodeChangesAuthority, Message: fmt.Sprintf(
		"the change gives traffic another meaning that live mandates may cover (kinds of traffic: %d, mandates: %d): see the report, and repeat the request with accept_changes=%s if it is meant",
		e.Report.TrafficCount, e.Report.MandateCount, e.Report.Digest)}
}

// Accepting has the caller accept what the report of this digest tells of its next change of the catalog.
func (c Caller) Accepting(digest string) Caller {
	c.accepts = digest
	return c
}

// touch refuses a change of the catalog that touches live mandates, unless its caller accepts just that. What was
// accepted goes into the detail of the event.
func (ch *change) touch(ctx context.Context, tx *postgres.Tx, before, after *authority.Catalog, event *authority.Event) error {
	differences, err := before.Differences(after)
	if err != nil || len(differences) == 0 {
		return err
	}
	t := newTouching(differences)
	if err := tx.LiveScopes(ctx, ch.at, t.look); err != nil {
		return err
	}
	report, err := t.report()
	switch {
	case err != nil:
		return err
	case report.TrafficCount == 0:
		return nil
	case report.Digest != ch.caller.accepts:
		return &ChangesAuthority{report}
	}
	event.Detail["accepted"] = map[string]any{
		"digest": report.Digest, "traffic_count": report.TrafficCount, "mandate_count": report.MandateCount,
	}
	return nil
}

// touching collects which differences touch which mandates.
type touching struct {
	traffic  []authority.TouchedTraffic
	effects  map[string]map[int]authority.TouchEffect // by scope, of the differences that touch it
	grants   map[[sha256.Size]byte]bool               // subjects with their scopes
	mandates int
}

func newTouching(differences []authority.Difference) *touching {
	t := &touching{effects: map[string]map[int]authority.TouchEffect{}, grants: map[[sha256.Size]byte]bool{}}
	for _, d := range differences {
		t.traffic = append(t.traffic, authority.TouchedTraffic{Difference: d, Mandates: []authority.TouchedMandate{}})
	}
	return t
}

// look holds one mandate's scope against every difference. Most scopes are those of several mandates.
func (t *touching) look(s postgres.LiveScope) {
	scope := strings.Join(texts(s.Resources), "\x00") + "\x00\x00" + strings.Join(texts(s.Actions), "\x00")
	effects, known := t.effects[scope]
	if !known {
		for i, d := range t.traffic {
			if effect := d.Touches(s.Resources, s.Actions); effect != "" {
				if effects == nil {
					effects = map[int]authority.TouchEffect{}
				}
				effects[i] = effect
			}
		}
		t.effects[scope] = effects
	}
	if len(effects) == 0 {
		return
	}
	t.mandates++
	t.grants[sha256.Sum256([]byte(string(s.SubjectID)+"\x00"+scope))] = true
	for i, effect := range effects {
		take(&t.traffic[i], authority.TouchedMandate{MandateID: s.MandateID, SubjectID: s.SubjectID, Effect: effect})
	}
}

// take counts a mandate, and keeps it among the first.
func take(t *authority.TouchedTraffic, m authority.TouchedMandate) {
	t.MandateCount++
	at, _ := slices.BinarySearchFunc(t.Mandates, m, func(a, b authority.TouchedMandate) int { return cmp.Compare(a.MandateID, b.MandateID) })
	t.Mandates = slices.Insert(t.Mandates, at, m)
	t.Mandates = t.Mandates[:min(len(t.Mandates), maxTouchedMandates)]
}

func (t *touching) report() (authority.TouchReport, error) {
	touched := slices.DeleteFunc(t.traffic, func(d authority.TouchedTraffic) bool { return d.MandateCount == 0 })
	grants := make([]string, 0, len(t.grants))
	for g := range t.grants {
		grants = append(grants, string(g[:]))
	}
	slices.Sort(grants)
	digest := sha256.New()
	for _, d := range touched {
		text, err := json.Marshal(d.Difference)
		if err != nil {
			return authority.TouchReport{}, fmt.Errorf("digest report: %w", err)
		}
		digest.Write(append(text, '\n'))
	}
	for _, g := range grants {
		digest.Write([]byte(g))
	}
	return authority.TouchReport{
		Digest:       base64.RawURLEncoding.EncodeToString(digest.Sum(nil)[:tagBytes]),
		TrafficCount: len(touched), MandateCount: t.mandates,
		Traffic: touched[:min(len(touched), maxTouchedTraffic)],
	}, nil
}
