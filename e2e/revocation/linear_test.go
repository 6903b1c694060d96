package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/caracal-gateway/caracal/authority"
)

// The states that a mandate goes through. Gateways hear of a revocation one after the other, so that between asking and
// the receipt some permit and some refuse; after it, none permits.
const (
	holding = iota
	revoking
	over
)

// model is what a mandate may look like to its clients, taken together.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return holding },
		Step: func(state, input, _ any) (bool, any) {
			at := state.(int)
			switch input.(observation) {
			case asked:
				return at == holding, revoking
			case enforced:
				return at == revoking, over
			case permitted:
				return at != over, at
			case revoked:
				return at != holding, at
			}
			return false, at
		},
		DescribeOperation: func(input, _ any) string { return string(input.(observation)) },
	}
}

// check holds the history of a mandate against the model.
func check(h *history, m authority.MandateID) error {
	var operations []porcupine.Operation
	last := int64(0) // when the receipt was known
	for _, s := range h.of(m) {
		operations = append(operations, porcupine.Operation{ClientId: s.gateway, Input: s.what, Call: s.call, Return: s.answer})
		if s.what == enforced {
			last = s.answer
		}
	}
	if last == 0 {
		return fmt.Errorf("no receipt of %s became enforced", m)
	}
	switch result := porcupine.CheckOperationsTimeout(model(), operations, time.Minute); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("the history of %s is too long to be checked", m)
	case porcupine.Illegal:
	}
	for _, s := range h.of(m) {
		if s.what == permitted && s.call > last {
			return fmt.Errorf("gateway %d permitted mandate %s %s after its receipt said enforced", s.gateway, m, time.Duration(s.call-last))
		}
	}
	return fmt.Errorf("what clients saw of mandate %s cannot be put in order", m)
}

func TestTheModelTellsRightFromWrong(t *testing.T) {
	const m authority.MandateID = "m"
	for name, c := range map[string]struct {
		all  []seen
		want bool
	}{
		"permitted, revoked, refused": {[]seen{{m, 0, permitted, 1, 2}, {m, 0, asked, 3, 9}, {m, 0, enforced, 3, 9}, {m, 0, revoked, 10, 11}}, true},
		"one gateway later than another": {
			[]seen{{m, 0, asked, 1, 9}, {m, 0, enforced, 1, 9}, {m, 0, revoked, 3, 4}, {m, 1, permitted, 5, 6}}, true,
		},
		"under way when the receipt came":         {[]seen{{m, 0, asked, 1, 5}, {m, 0, enforced, 1, 5}, {m, 0, permitted, 4, 9}}, true},
		"asked for after the receipt":             {[]seen{{m, 0, asked, 1, 5}, {m, 0, enforced, 1, 5}, {m, 0, permitted, 6, 9}}, false},
		"refused before anybody revoked":          {[]seen{{m, 0, revoked, 1, 2}, {m, 0, asked, 3, 5}, {m, 0, enforced, 3, 5}}, false},
		"a byte that was sent after the receipt":  {[]seen{{m, 0, asked, 1, 5}, {m, 0, enforced, 1, 5}, {m, 0, permitted, 7, 7}}, false},
		"a revocation that never becomes a state": {[]seen{{m, 0, permitted, 1, 2}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(&history{all: c.all}, m); (err == nil) != c.want {
				t.Errorf("check = %v, want right: %t", err, c.want)
			}
		})
	}
}
