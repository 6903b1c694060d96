package authority_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
)

func catalogOf(t interface{ Fatal(...any) }, destinations ...authority.Destination) *authority.Catalog {
	for i := range destinations {
		destinations[i] = destinations[i].WithDefaults()
		destinations[i].Name = fmt.Sprintf("d%d", i)
	}
	c, err := authority.NewCatalog(destinations)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// told is a difference in a line.
func told(d authority.Difference) string {
	return strings.Join(d.Methods, ",") + " " + d.URL + ": " + meant(d.Before) + " -> " + meant(d.After)
}

func meant(m *authority.Meaning) string {
	if m == nil {
		return "refused"
	}
	return m.Resource + fmt.Sprint(m.Actions)
}

func TestDifferences(t *testing.T) {
	rule := func(text string) authority.Rule {
		words := strings.Fields(text)
		r := authority.Rule{Path: words[0], Methods: map[string]authority.Action{}, Resource: words[2]}
		for _, pair := range strings.Split(words[1], ",") {
			method, action, _ := strings.Cut(pair, "=")
			r.Methods[method] = authority.Action(action)
		}
		return r
	}
	shop := func(rules ...string) authority.Destination {
		d := authority.Destination{Host: "shop.example.com"}
		for _, r := range rules {
			d.Rules = append(d.Rules, rule(r))
		}
		return d
	}
	with := func(d authority.Destination, change func(*authority.Destination)) authority.Destination {
		change(&d)
		return d
	}
	list := func(d ...authority.Destination) []authority.Destination { return d }
	all := "/** GET=read,*=write api:shop"
	for sentence, c := range map[string]struct {
		before, after []authority.Destination
		want          []string
	}{
		"nothing changes": {list(shop(all)), list(shop(all)), nil},
		"how it is reached changes": {list(shop(all)), list(with(shop(all), func(d *authority.Destination) {
			d.ConnectTo, d.ClientCertificate, d.MaxDurationSeconds = "other.example.com:443", "ours", 60
		})), nil},
		"rules change their order":    {list(shop(all, "/a GET=read api:shop/a")), list(shop("/a GET=read api:shop/a", all)), nil},
		"a variable changes its name": {list(shop("/{a} GET=read api:shop/{a}")), list(shop("/{b} GET=read api:shop/{b}")), nil},
		"a host that had no destination": {nil, list(shop("/orders/{id} GET=read api:shop/orders")), []string{
			"* http://shop.example.com/**: host:shop.example.com:80/**[write] -> refused",
			"GET,HEAD,OPTIONS http://shop.example.com/**: host:shop.example.com:80/**[read] -> refused",
			"* https://shop.example.com/**: host:shop.example.com:443/**[write] -> refused",
			"GET,HEAD,OPTIONS https://shop.example.com/**: host:shop.example.com:443/**[read] -> refused",
			"* https://shop.example.com/orders/{id}: host:shop.example.com:443/orders/{id}[write] -> refused",
			"HEAD,OPTIONS https://shop.example.com/orders/{id}: host:shop.example.com:443/orders/{id}[read] -> refused",
			"GET https://shop.example.com/orders/{id}: host:shop.example.com:443/orders/{id}[read] -> api:shop/orders[read]",
		}},
		"a closer rule": {list(shop(all)), list(shop(all, "/admin/** GET=read api:shop/admin")), []string{
			"* https://shop.example.com/admin/**: api:shop[write] -> refused",
			"GET https://shop.example.com/admin/**: api:shop[read] -> api:shop/admin[read]",
		}},
		"a closer rule goes":                {list(shop(all, "/{a} *=write api:shop")), list(shop(all)), []string{"GET https://shop.example.com/{a}: api:shop[write] -> api:shop[read]"}},
		"a rule that another covers":        {list(shop("/{a} GET=read api:shop/{a}", "/a GET=read api:shop/a")), list(shop("/{a} GET=read api:shop/{a}")), nil},
		"a method of its own":               {list(shop(all)), list(shop("/** GET=read,DELETE=write,*=write api:shop")), nil},
		"two variables change their places": {list(shop("/{a}/{b} GET=read api:{a}/{b}")), list(shop("/{a}/{b} GET=read api:{b}/{a}")), []string{"GET https://shop.example.com/{a}/{b}: api:{a}/{b}[read] -> api:{b}/{a}[read]"}},
		"a rest behind a rule of the same place": {list(shop("/a/** GET=read api:shop/a", "/a GET=read api:shop/a")), list(shop("/a/** GET=read api:shop/b", "/a GET=read api:shop/a")), []string{
			"GET https://shop.example.com/a/**: api:shop/a[read] -> api:shop/b[read]",
		}},
		"another port": {list(shop(all)), list(with(shop(all), func(d *authority.Destination) { d.Ports = []uint16{443, 8443} })), []string{
			"* https://shop.example.com:8443/**: refused -> api:shop[write]", "GET https://shop.example.com:8443/**: refused -> api:shop[read]",
		}},
		"escaped slashes are kept": {list(shop("/p/{id} GET=read api:p/{id}", "/a GET=read api:a")), list(with(shop("/p/{id} GET=read api:p/{id}", "/a GET=read api:a"), func(d *authority.Destination) { d.EncodedSlash = authority.EncodedSlashKeep })), []string{
			"GET https://shop.example.com/p/{id} with an escaped slash: refused -> api:p/{id}[read]",
		}},
		"tunnels are not looked into": {list(shop(all)), list(with(shop(all), func(d *authority.Destination) { d.Tunnel = authority.TunnelPassthrough })), []string{
			"CONNECT shop.example.com:443: refused -> tunnel:shop.example.com:443[execute read write]",
			"CONNECT shop.example.com:443: api:shop[read] -> tunnel:shop.example.com:443[execute read write]",
			"CONNECT shop.example.com:443: api:shop[write] -> tunnel:shop.example.com:443[execute read write]",
		}},
		"tunnels are refused": {list(shop(all)), list(with(shop(all), func(d *authority.Destination) { d.Tunnel = authority.TunnelRefuse })), []string{
			"CONNECT shop.example.com:443: api:shop[read] -> refused", "CONNECT shop.example.com:443: api:shop[write] -> refused",
		}},
		"tunnels are looked into": {list(with(shop(all), func(d *authority.Destination) { d.Tunnel = authority.TunnelPassthrough })), list(shop(all)), []string{
			"CONNECT shop.example.com:443: tunnel:shop.example.com:443[execute read write] -> refused",
		}},
		"tunnels are there again": {list(with(shop(all), func(d *authority.Destination) { d.Tunnel = authority.TunnelRefuse })), list(shop(all)), nil},
		"a base path":             {list(shop(all)), list(with(shop(all), func(d *authority.Destination) { d.BasePath = "shop" })), nil},
		"a base path goes": {list(with(shop("/** GET=read api:shop"), func(d *authority.Destination) { d.BasePath = "shop" })), list(shop("/** GET=read api:shop")), []string{
			"GET /r/shop/**: api:shop[read] -> refused",
		}},
		"a base path is another destination's": {
			list(with(shop("/** GET=read api:shop"), func(d *authority.Destination) { d.BasePath = "shop" }), authority.Destination{Host: "mall.example.com", Rules: []authority.Rule{rule("/** GET=read api:mall")}}),
			list(shop("/** GET=read api:shop"), authority.Destination{Host: "mall.example.com", BasePath: "shop", Rules: []authority.Rule{rule("/** GET=read api:mall")}}),
			[]string{"GET /r/shop/**: api:shop[read] -> api:mall[read]"},
		},
		"an exact host goes, and a suffix takes it over": {
			list(shop("/** GET=read api:shop"), authority.Destination{Host: "*.example.com", Rules: []authority.Rule{rule("/** GET=read api:any")}}),
			list(authority.Destination{Host: "*.example.com", Rules: []authority.Rule{rule("/** GET=read api:any")}}),
			[]string{"GET https://shop.example.com/**: api:shop[read] -> api:any[read]"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			found, err := catalogOf(t, c.before...).Differences(catalogOf(t, c.after...))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, told(d))
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

// A scope is held against what it says of a host below a suffix.
func TestAMeaningOfASuffixIsThatOfItsHosts(t *testing.T) {
	found, err := catalogOf(t).Differences(catalogOf(t, authority.Destination{Host: "*.example.com", Rules: []authority.Rule{
		{Path: "/orders/{id}", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:shop/{id}"},
	}}))
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[authority.ResourcePattern]bool{
		"host:a.example.com:443/orders/1":  true,
		"host:a.example.com:443/orders/1/": true,
		"host:a.b.example.com:443/*":       true,
		"host:*:443/*":                     true,
		"host:*":                           true,
		"host:a.example.org:443/*":         false,
		"host:badexample.com:443/*":        false,
		"host:example.com:443/*":           false,
		"host:a.example.com:8443/*":        false,
		"api:shop/7":                       true,
		"api:shop/*":                       true,
		"api:shop":                         false,
		"api:shop/7/8":                     false,
	} {
		covered := slices.ContainsFunc(found, func(d authority.Difference) bool {
			scope := []authority.ResourcePattern{"db:other", pattern}
			return d.Before.Covered(scope, authority.Actions{authority.Read}) || d.After.Covered(scope, authority.Actions{authority.Read})
		})
		if covered != want {
			t.Errorf("%s is covered by what differs: %v", pattern, covered)
		}
	}
}

// small is a catalog over two hosts and a suffix of them, of rules with few literals.
func small(t *rapid.T, label string) []authority.Destination {
	var list []authority.Destination
	for _, host := range []string{"a.example.com", "*.example.com"} {
		if rapid.IntRange(0, 3).Draw(t, label+" is there") == 0 {
			continue
		}
		d := authority.Destination{
			Host: host, Ports: rapid.SampledFrom([][]uint16{{443}, {443, 80}, {8443}}).Draw(t, "ports"),
			TLS:          rapid.SampledFrom([]authority.TLSMode{authority.TLSRequired, authority.TLSRequired, authority.TLSNone}).Draw(t, "tls"),
			EncodedSlash: rapid.SampledFrom([]authority.EncodedSlash{authority.EncodedSlashRefuse, authority.EncodedSlashKeep}).Draw(t, "slash"),
			Name:         host, Tunnel: authority.TunnelInspect, Rules: []authority.Rule{},
		}
		taken := map[string]bool{}
		for range rapid.IntRange(0, 4).Draw(t, "rules") {
			path, variables := "", []string{}
			for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
				s := rapid.SampledFrom([]string{"a", "b", "{}", "{}"}).Draw(t, "segment")
				if s == "{}" {
					s = fmt.Sprintf("{v%d}", i)
					variables = append(variables, s)
				}
				path += "/" + s
			}
			if path == "" || rapid.Bool().Draw(t, "rest") {
				path += "/**"
			}
			resource := "api:" + rapid.SampledFrom([]string{"x", "y"}).Draw(t, "resource")
			if len(variables) > 0 && rapid.Bool().Draw(t, "with variables") {
				resource += "/" + strings.Join(rapid.Permutation(variables).Draw(t, "variables"), ":")
			}
			methods := rapid.SampledFrom([]map[string]authority.Action{
				{"GET": authority.Read}, {"*": authority.Write}, {"GET": authority.Read, "*": authority.Write}, {"GET": authority.Execute, "POST": authority.Execute},
			}).Draw(t, "methods")
			key := strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r >= '0' && r <= '9' }), "")
			if !taken[key] {
				taken[key] = true
				d.Rules = append(d.Rules, authority.Rule{Path: path, Methods: methods, Resource: resource})
			}
		}
		list = append(list, d)
	}
	return list
}

// requests are all of up to four segments, of values that rules name and others.
func requests() []authority.Target {
	paths, last := []string{"/"}, []string{""}
	for range 4 {
		var longer []string
		for _, p := range last {
			for _, s := range []string{"a", "b", "c", "d"} {
				longer = append(longer, p+"/"+s)
			}
		}
		paths, last = append(paths, longer...), longer
	}
	for _, p := range slices.Clone(paths) {
		if strings.Contains(p, "/c") {
			paths = append(paths, strings.Replace(p, "/c", "/c%2Fc", 1))
		}
	}
	paths = append(paths, "/a/b/", "/c/", "/c/d/c/")
	var all []authority.Target
	for _, host := range []string{"a.example.com", "b.example.com"} {
		for _, scheme := range []string{"https", "http"} {
			for _, port := range []string{"443", "80", "8443"} {
				for _, p := range paths {
					target, err := authority.ParseTarget(scheme + "://" + host + ":" + port + p)
					if err != nil {
						panic(err)
					}
					all = append(all, target)
				}
			}
		}
	}
	return all
}

// Of every request that one catalog and another take for different things a difference tells the kind, and every difference tells of
// such a request.
func TestDifferencesAreWhatRequestsShow(t *testing.T) {
	every := requests()
	rapid.Check(t, func(t *rapid.T) {
		before, err := authority.NewCatalog(small(t, "before"))
		if err != nil {
			t.Fatal(err)
		}
		after, err := authority.NewCatalog(small(t, "after"))
		if err != nil {
			t.Fatal(err)
		}
		found, err := before.Differences(after)
		if err != nil {
			t.Fatal(err)
		}
		found = slices.DeleteFunc(found, func(d authority.Difference) bool { return d.Methods[0] == "CONNECT" })
		shown, seen := make([]bool, len(found)), map[[2]authority.Match]bool{}
		for _, target := range every {
			for _, method := range []string{"GET", "HEAD", "POST", "PATCH"} {
				a, errA := before.Resolve(method, target)
				b, errB := after.Resolve(method, target)
				if (errA == nil) == (errB == nil) && a.Resource == b.Resource && a.Action == b.Action {
					continue
				}
				a, b = authority.Match{Resource: a.Resource, Action: a.Action}, authority.Match{Resource: b.Resource, Action: b.Action}
				if seen[[2]authority.Match{a, b}] {
					continue
				}
				if seen[[2]authority.Match{a, b}] = true; !tells(found, shown, a, b) {
					t.Fatalf("%s %s is %s[%s] and then %s[%s], of which nothing is told in %v", method, target.URL(), a.Resource, a.Action, b.Resource, b.Action, lines(found))
				}
			}
		}
		for i, d := range found {
			if !shown[i] {
				t.Fatalf("no request shows %s", told(d))
			}
		}
	})
}

func lines(found []authority.Difference) (all []string) {
	for _, d := range found {
		all = append(all, told(d))
	}
	return all
}

// tells marks the differences that are of a request which is one thing and then another.
func tells(found []authority.Difference, shown []bool, a, b authority.Match) bool {
	is := func(m *authority.Meaning, r authority.Match) bool {
		if m == nil || r.Resource == "" {
			return m == nil && r.Resource == ""
		}
		return m.Covered([]authority.ResourcePattern{authority.ResourcePattern(r.Resource)}, authority.Actions{r.Action})
	}
	any := false
	for i, d := range found {
		if is(d.Before, a) && is(d.After, b) {
			shown[i], any = true, true
		}
	}
	return any
}
