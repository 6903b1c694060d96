package controlplane_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

func TestAKeyIsForAPrincipalOfItsKind(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	service, asService := w.agent(w.owner, "service", authority.Service)
	if asService.Kind() != authority.KeyService {
		t.Errorf("a service's first key is of the kind %s", asService.Kind())
	}
	nobody := must(w.RegisterPrincipal(ctx, w.owner, controlplane.NewPrincipal{Name: "no member", Type: authority.User}))(t).Value
	owner := w.owner.Principal().ID
	holders := map[authority.KeyKind]authority.PrincipalID{
		authority.KeyAgent: agent.ID, authority.KeyService: service.ID, authority.KeyMember: owner, authority.KeyGateway: "",
	}
	for _, kind := range authority.KeyKinds() {
		for of, holder := range holders {
			err := drop(w.CreateKey(ctx, w.owner, controlplane.NewKey{Kind: kind, Name: "k", PrincipalID: holder}))
			if kind == of && err != nil {
				t.Errorf("a key of the kind %s for its holder: %v", kind, err)
			} else if kind != of {
				wantError(t, err, authority.CodeInvalid, "")
			}
		}
	}
	for sentence, n := range map[string]controlplane.NewKey{
		"no kind":                      {Name: "k", PrincipalID: agent.ID},
		"the kind of older keys":       {Kind: authority.KeyOwner, Name: "k", PrincipalID: owner},
		"the setup key's kind":         {Kind: controlplane.KeySetup, Name: "k"},
		"for a user that is no member": {Kind: authority.KeyMember, Name: "k", PrincipalID: nobody.ID},
		"for nobody":                   {Kind: authority.KeyAgent, Name: "k", PrincipalID: "prn_none"},
		"a role for an agent's":        {Kind: authority.KeyAgent, Name: "k", PrincipalID: agent.ID, Role: authority.RoleViewer},
		"a role that is none":          {Kind: authority.KeyMember, Name: "k", PrincipalID: owner, Role: "root"},
		"no name":                      {Kind: authority.KeyGateway},
		"a name with a line in it":     {Kind: authority.KeyGateway, Name: "a\nb"},
		"ended before it begins":       {Kind: authority.KeyGateway, Name: "k", ExpiresAt: in(-1)},
		"a network that is none":       {Kind: authority.KeyGateway, Name: "k", AllowedNetworks: []string{"everywhere"}},
	} {
		t.Log(sentence)
		wantError(t, drop(w.CreateKey(ctx, w.owner, n)), authority.CodeInvalid, "")
	}
}

func TestAKeyIsGoodFromItsNetworksOnly(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	for sentence, n := range map[string]controlplane.NewKey{
		"an agent's":  {Kind: authority.KeyAgent, Name: "k", PrincipalID: agent.ID},
		"a member's":  {Kind: authority.KeyMember, Name: "k", PrincipalID: w.owner.Principal().ID},
		"a gateway's": {Kind: authority.KeyGateway, Name: "k"},
	} {
		n.AllowedNetworks = []string{"192.0.2.0/24", "2001:db8::7"}
		made := must(w.CreateKey(ctx, w.owner, n))(t).Value
		for from, may := range map[string]bool{
			"192.0.2.9": true, "::ffff:192.0.2.9": true, "2001:db8::7": true, "192.0.3.9": false, "2001:db8::8": false, "": false,
		} {
			address, _ := netip.ParseAddr(from)
			c, err := w.Authenticate(ctx, controlplane.Credential{Bearer: made.APIKey, Address: address})
			if may && (err != nil || c.Address() != address) {
				t.Errorf("%s from %q: %v", sentence, from, err)
			} else if !may {
				wantError(t, err, authority.CodeUnauthenticated, "")
			}
		}
	}
}

func TestARotatedKeyGoesOnForTheOverlap(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	n := controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: agent.ID, AllowedNetworks: []string{"192.0.2.0/24"}, ExpiresAt: in(7200)}
	old := must(w.CreateKey(ctx, w.owner, n))(t).Value
	overlap := int64(60)
	rotated := must(w.RotateKey(ctx, w.owner, old.ID, controlplane.Rotation{OverlapSeconds: &overlap}))(t).Value
	if rotated.Replaces != old.ID || rotated.Replaced.ID != old.ID || rotated.PrincipalID != agent.ID || len(rotated.AllowedNetworks) != 1 {
		t.Errorf("the successor is %+v", rotated)
	}
	lifetime := func(k authority.Key) time.Duration { return k.ExpiresAt.Sub(k.CreatedAt).Round(time.Second) }
	if got, want := lifetime(rotated.Key), lifetime(old.Key); got != want {
		t.Errorf("the successor lives %s, its predecessor %s", got, want)
	}
	if end := time.Until(*rotated.Replaced.ExpiresAt); end > time.Minute || end < 0 {
		t.Errorf("the old key ends in %s", end)
	}
	from := netip.MustParseAddr("192.0.2.1")
	open := func(s *controlplane.Service, key string) error {
		_, err := s.Authenticate(ctx, controlplane.Credential{Bearer: key, Address: from})
		return err
	}
	again := drop(w.RotateKey(ctx, w.owner, old.ID, controlplane.Rotation{}))
	wantError(t, again, authority.CodeConflict, "")
	if !strings.Contains(again.Error(), string(rotated.ID)) {
		t.Errorf("a second rotation says %q, want it to name the successor %s", again, rotated.ID)
	}
	for _, key := range []string{old.APIKey, rotated.APIKey} {
		if err := open(w.Service, key); err != nil {
			t.Errorf("during the overlap: %v", err)
		}
	}
	later := serviceAt(t, w.appURL, func() time.Time { return time.Now().Add(61 * time.Second) })
	wantError(t, open(later, old.APIKey), authority.CodeUnauthenticated, "")
	if err := open(later, rotated.APIKey); err != nil {
		t.Errorf("after the overlap: %v", err)
	}
	event := must(w.Events(ctx, w.owner, controlplane.EventFilter{Type: authority.EventKeyRotated}, controlplane.Page{}))(t).Items[0]
	if event.Detail["successor"] != string(rotated.ID) || event.PrincipalID != agent.ID {
		t.Errorf("the event tells %v", event.Detail)
	}

	none, tooLong := int64(0), int64(7*24*3600+1)
	at := must(w.RotateKey(ctx, w.owner, rotated.ID, controlplane.Rotation{OverlapSeconds: &none}))(t).Value
	wantError(t, open(w.Service, rotated.APIKey), authority.CodeUnauthenticated, "")
	wantError(t, drop(w.RotateKey(ctx, w.owner, rotated.ID, controlplane.Rotation{})), authority.CodeConflict, "")
	wantError(t, drop(w.RotateKey(ctx, w.owner, at.ID, controlplane.Rotation{OverlapSeconds: &tooLong})), authority.CodeInvalid, "")
	wantError(t, drop(w.RotateKey(ctx, w.owner, "key_none", controlplane.Rotation{})), authority.CodeNotFound, "")
	must(w.RevokeKey(ctx, w.owner, at.ID))(t)
	wantError(t, drop(w.RotateKey(ctx, w.owner, at.ID, controlplane.Rotation{})), authority.CodeConflict, "")
}

// A gateway goes on with the key that it has, and a process that starts where it ran with the successor takes its place
// for those who look. It ends no lease: a revocation waits for both.
func TestAGatewaysKeyIsRotatedUnderARunningGateway(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key := w.edgeKey(w.owner)
	first := w.enrol(w.as(key.APIKey), "edge-1")
	present := must(w.ConnectGateway(ctx, first.caller, first.id, "", current))(t)
	rotated := must(w.RotateKey(ctx, w.owner, key.ID, controlplane.Rotation{}))(t).Value
	w.hold(first)
	whole(t, w.Service, first.caller)
	present.Leave()
	second := w.enrol(w.as(rotated.APIKey), "edge-1")
	w.hold(second)
	for _, g := range must(w.Gateways(ctx, w.owner))(t) {
		if superseded := g.SupersededAt != nil; superseded != (g.ID == first.id) || g.LeftAt != nil || g.State != controlplane.GatewayInSync {
			t.Errorf("the gateway %s of the key %s is superseded: %t, left at %v, %s; the second is %s", g.ID, g.KeyID, superseded, g.LeftAt, g.State, second.id)
		}
	}
	agent, _ := w.agent(w.owner, "a", authority.Agent)
	w.policy(w.owner, agent, 0)
	if r := must(w.RevokeMandate(ctx, w.owner, w.mandate(w.owner, agent).ID, 0))(t).Value; len(r.Gateways) != 2 {
		t.Errorf("it waits for %+v", r.Gateways)
	}
}

// What is left of a role under a key's is one role: the table has to be made so that this role may what both may.
func TestTheTableOfRightsIsClosedUnderCaps(t *testing.T) {
	for _, r := range controlplane.Rights() {
		if len(r.Roles)+len(r.Kinds) == 0 {
			t.Errorf("nobody may %s", r.Operation)
		}
		for _, role := range authority.Roles() {
			for _, limit := range authority.Roles() {
				both := slices.Contains(r.Roles, role) && slices.Contains(r.Roles, limit)
				if left := role.Within(limit); slices.Contains(r.Roles, left) != both {
					t.Errorf("%s: %s under %s is %s; both may: %t", r.Operation, role, limit, left, both)
				}
			}
		}
	}
}

func TestABoundKeyMakesNoMembersKeyThatIsFreer(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, _ := w.agent(w.owner, "agent", authority.Agent)
	mine := func(expires *time.Time, networks ...string) controlplane.NewKey {
		return controlplane.NewKey{Kind: authority.KeyMember, Name: "k", PrincipalID: w.owner.Principal().ID, ExpiresAt: expires, AllowedNetworks: networks}
	}
	from := netip.MustParseAddr("192.0.2.1")
	holding := func(n controlplane.NewKey) (authority.KeyID, controlplane.Caller) {
		made := must(w.CreateKey(ctx, w.owner, n))(t).Value
		return made.ID, must(w.Authenticate(ctx, controlplane.Credential{Bearer: made.APIKey, Address: from}))(t)
	}
	lasting := must(w.CreateKey(ctx, w.owner, mine(nil)))(t).Value
	brief, briefly := holding(mine(in(3600)))
	_, there := holding(mine(nil, "192.0.2.0/24"))
	for sentence, c := range map[string]struct {
		caller controlplane.Caller
		asks   controlplane.NewKey
		may    bool
	}{
		"a lasting key by one that ends":             {briefly, mine(nil), false},
		"a key that ends later":                      {briefly, mine(in(7200)), false},
		"a key that ends earlier":                    {briefly, mine(in(60)), true},
		"a key for anywhere by one for a network":    {there, mine(nil), false},
		"a key for a wider network":                  {there, mine(nil, "192.0.0.0/16"), false},
		"a key for its network and another":          {there, mine(nil, "192.0.2.0/24", "198.51.100.0/24"), false},
		"a key for a part of its network":            {there, mine(nil, "192.0.2.7"), true},
		"an agent's lasting key by one that ends":    {briefly, controlplane.NewKey{Kind: authority.KeyAgent, Name: "k", PrincipalID: agent.ID}, true},
		"a gateway's key for anywhere by one in net": {there, controlplane.NewKey{Kind: authority.KeyGateway, Name: "k"}, true},
	} {
		err := drop(w.CreateKey(ctx, c.caller, c.asks))
		if c.may && err != nil {
			t.Errorf("%s: %v", sentence, err)
		} else if !c.may {
			t.Log(sentence)
			wantError(t, err, authority.CodeForbidden, "")
		}
	}
	wantError(t, drop(w.RotateKey(ctx, briefly, lasting.ID, controlplane.Rotation{})), authority.CodeForbidden, "")
	if err := drop(w.RotateKey(ctx, briefly, brief, controlplane.Rotation{})); err != nil {
		t.Errorf("a key rotates itself: %v", err)
	}
}
