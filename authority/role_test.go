package authority_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

func TestWhatIsLeftOfARoleUnderACapIsWithinBoth(t *testing.T) {
	const owner, admin, operator, author, auditor, viewer = authority.RoleOwner, authority.RoleAdmin, authority.RoleOperator, authority.RolePolicyAuthor, authority.RoleAuditor, authority.RoleViewer
	for sentence, c := range map[string]struct{ role, limit, want authority.Role }{
		"no cap leaves the role":                       {operator, "", operator},
		"no role stays none":                           {"", owner, ""},
		"an owner is what its key says":                {owner, auditor, auditor},
		"an admin stays one under an owner's cap":      {admin, owner, admin},
		"an admin is what its key says":                {admin, operator, operator},
		"an operator gains nothing by an admin's cap":  {operator, admin, operator},
		"an author gains nothing by an owner's cap":    {author, owner, author},
		"two roles that hold not each other look on":   {operator, author, viewer},
		"an auditor with an operator's key looks on":   {auditor, operator, viewer},
		"a viewer gains nothing by an operator's key":  {viewer, operator, viewer},
		"a cap that is no role leaves to look on only": {operator, "root", viewer},
	} {
		if got := c.role.Within(c.limit); got != c.want {
			t.Errorf("%s: got %q, want %q", sentence, got, c.want)
		}
	}
	for _, a := range authority.Roles() {
		for _, b := range authority.Roles() {
			if left := a.Within(b); left != b.Within(a) || left.Within(a) != left || left.Within(b) != left {
				t.Errorf("%s under %s is %s, the other way round %s", a, b, left, b.Within(a))
			}
		}
	}
}

func TestOnlyOwnersChangeOwners(t *testing.T) {
	for _, role := range append(authority.Roles(), "", "root") {
		for _, other := range authority.Roles() {
			may := role == authority.RoleOwner || role == authority.RoleAdmin && other != authority.RoleOwner
			if err := role.MayChange(other); (err == nil) != may {
				t.Errorf("%q changes %q: %v", role, other, err)
			}
		}
	}
}

func TestARoleIsOneOfTheSix(t *testing.T) {
	for _, text := range []string{"", "Owner", "owner ", "root", "policy-author"} {
		if r, err := authority.ParseRole(text); err == nil {
			t.Errorf("%q is the role %q", text, r)
		}
	}
	for _, r := range authority.Roles() {
		if got, err := authority.ParseRole(string(r)); err != nil || got != r {
			t.Errorf("%q: %q, %v", r, got, err)
		}
	}
}

func TestAKeyIsOfTheKindOfItsHolder(t *testing.T) {
	for typ, want := range map[authority.PrincipalType]authority.KeyKind{
		authority.User: authority.KeyMember, authority.Agent: authority.KeyAgent, authority.Service: authority.KeyService, "x": "",
	} {
		if got := authority.OfPrincipal(typ); got != want {
			t.Errorf("the key of a principal of the type %s is of the kind %q", typ, got)
		}
	}
	for _, k := range authority.KeyKinds() {
		if own := slices.Contains([]authority.KeyKind{authority.KeyAgent, authority.KeyService}, k); k.IsOwn() != own {
			t.Errorf("%s is for its holder's own affairs: %t", k, k.IsOwn())
		}
	}
}

func TestNetworksAdmitWhatTheyHold(t *testing.T) {
	networks, err := authority.ParseNetworks([]string{"192.0.2.0/24", "2001:db8::/32", "198.51.100.7"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"192.0.2.1": true, "192.0.3.1": false, "::ffff:192.0.2.1": true, "2001:db8::1": true, "2001:db9::1": false,
		"198.51.100.7": true, "198.51.100.8": false, "fe80::1%eth0": false, "2001:db8::1%eth0": true,
	} {
		if got := authority.Admits(networks, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
	if authority.Admits(networks, netip.Addr{}) {
		t.Error("an address that is not known is admitted")
	}
	if !authority.Admits(nil, netip.Addr{}) {
		t.Error("without networks somebody is kept out")
	}
}

func TestNetworksAreWrittenInOneWay(t *testing.T) {
	for sentence, text := range map[string]string{
		"nothing": "", "a name": "example.com", "bits behind the length": "192.0.2.1/24", "a length that is too long": "192.0.2.0/33",
		"IPv4 as IPv6": "::ffff:192.0.2.0/120", "an IPv4 address as IPv6": "::ffff:192.0.2.1", "a zone": "fe80::1%eth0", "a port": "192.0.2.1:80",
	} {
		if got, err := authority.ParseNetworks([]string{"192.0.2.0/24", text}); err == nil {
			t.Errorf("%s: %v", sentence, got)
		} else {
			wantCode(t, err, authority.CodeInvalid, "[1]")
		}
	}
	if _, err := authority.ParseNetworks(make([]string, 65)); err == nil {
		t.Error("65 networks are as many as one likes")
	}
}

func wantCode(t *testing.T, err error, code authority.Code, field string) {
	t.Helper()
	told, ok := err.(*authority.Error) //nolint:errorlint // the error is not wrapped
	if !ok || told.Code != code || told.Field != field {
		t.Errorf("error %v", err)
	}
}
