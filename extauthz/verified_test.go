package extauthz_test

import (
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

// A token that was recognised once must not be let in for longer than one that is seen for the first time.
func TestATokenThatIsRecognisedHoldsNoLonger(t *testing.T) {
	cases := map[string]struct {
		retire, after time.Duration // of the key, and when the second check is made
		want          authority.Reason
	}{
		"within its time":              {time.Hour, 14 * time.Minute, ""},
		"at its end":                   {time.Hour, 15 * time.Minute, authority.ReasonAuthFailed},
		"when its key is retired":      {10 * time.Minute, 10 * time.Minute, authority.ReasonAuthFailed},
		"shortly before that":          {10 * time.Minute, 10*time.Minute - time.Second, ""},
		"long after all of it is over": {time.Hour, 50 * time.Minute, authority.ReasonAuthFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.TokenKey = token.NewSigningKey(token.PurposeToken, start.Add(-time.Hour), start.Add(c.retire))
			b.enforce(t)
			check := b.proxied().check()
			wantPermission(t, b.check(t, check))
			b.elapsed = c.after
			answer := b.check(t, check)
			if c.want == "" {
				wantPermission(t, answer)
			} else if d := wantDenial(t, answer); d.Error != string(c.want) {
				t.Errorf("got %+v, want %s", d, c.want)
			}
		})
	}
}

func TestAKeySetWithoutTheKeyEndsItsTokens(t *testing.T) {
	b := newBench(t)
	b.enforce(t)
	check := b.proxied().check()
	wantPermission(t, b.check(t, check))
	b.TokenKey = token.NewSigningKey(token.PurposeToken, start.Add(-time.Hour), start.Add(time.Hour))
	b.enforce(t)
	if d := wantDenial(t, b.check(t, check)); d.Error != "authentication_failed" {
		t.Errorf("got %+v", d)
	}
}
