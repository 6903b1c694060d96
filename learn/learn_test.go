package learn_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/learn"
)

// denied is the event of a request, by its reason, method and URL.
func denied(t *testing.T, line string) authority.Event {
	t.Helper()
	words := strings.Fields(line)
	target, err := authority.ParseTarget(words[2])
	if err != nil {
		t.Fatal(err)
	}
	e := authority.Event{Type: authority.EventDenied, Reason: authority.Reason(words[0]), Request: &authority.RequestRecord{
		Method: words[1], Scheme: target.Scheme, Host: target.Host, Port: target.Port, Path: target.Path,
	}}
	if len(words) > 3 {
		e.Resource = authority.Resource(words[3])
	}
	return e
}

func TestProposals(t *testing.T) {
	shop := authority.Destination{Name: "shop", Host: "shop.example.com", Rules: []authority.Rule{
		{Path: "/items/{item}", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:shop/items"},
	}}.WithDefaults()
	for sentence, c := range map[string]struct {
		events  []string
		present []authority.Destination
		want    []string // entry, destination or extension with its rules
	}{
		"nothing was denied": {nil, nil, nil},
		"what no destination mends": {[]string{
			"authentication_failed GET https://a.example.org/", "policy_denied GET https://a.example.org/ host:a.example.org:443/",
			"no_mandate_applies GET https://shop.example.com/items/7 api:shop/items",
		}, nil, nil},
		"paths with identifiers": {[]string{
			"no_mandate_applies GET https://a.example.org/v1/orders/17 host:a.example.org:443/v1/orders/17",
			"resource_not_in_scope GET https://a.example.org/v1/orders/18 host:a.example.org:443/v1/orders/18",
			"missing_mandate DELETE https://a.example.org/v1/orders/18",
			"missing_mandate GET https://a.example.org/v1/orders/18/lines/cus_9s6XKzkNRiz8i3",
			"missing_mandate GET https://a.example.org/",
		}, nil, []string{
			"a.example.org [443] tls, 5 requests", "/ GET=read api:a.example.org", "/v1/orders/{id} DELETE=write GET=read api:a.example.org/v1/orders/{id}",
			"/v1/orders/{id}/lines/{id2} GET=read api:a.example.org/v1/orders/{id}/lines/{id2}",
		}},
		"other ports, plain text and escaped slashes": {[]string{
			"target_not_allowed GET http://a.example.org:8080/x%2Fy",
		}, nil, []string{"a.example.org [8080] plain keep, 1 requests", "/x%2Fy GET=read api:a.example.org/x%2Fy"}},
		"a tunnel alone": {[]string{"no_mandate_applies CONNECT https://a.example.org/"}, nil, []string{"a.example.org [443] tls, 1 requests", "/** GET=read HEAD=read api:a.example.org"}},
		"a ready entry": {[]string{
			"no_mandate_applies POST https://api.openai.com/v1/responses host:api.openai.com:443/v1/responses",
			"no_mandate_applies GET https://api.openai.com/v1/models host:api.openai.com:443/v1/models",
		}, nil, []string{"entry openai, 2 requests"}},
		"a path that the destination does not list": {[]string{
			"target_not_allowed GET https://shop.example.com/carts/1", "target_not_allowed GET https://shop.example.com/items/1",
			"target_not_allowed POST https://shop.example.com/carts", "target_not_allowed GET https://shop.example.com:8443/carts",
		}, []authority.Destination{shop}, []string{"extends shop, 2 requests", "/carts POST=write api:shop/carts", "/carts/{id} GET=read api:shop/carts/{id}"}},
		"a method that the destination's rule does not list": {[]string{"target_not_allowed PUT https://shop.example.com/items/1"}, []authority.Destination{shop}, []string{
			"extends shop, 1 requests", "/items/{id} PUT=write api:shop/items/{id}",
		}},
	} {
		t.Run(sentence, func(t *testing.T) {
			var events []authority.Event
			for _, line := range c.events {
				events = append(events, denied(t, line))
			}
			if diff := cmp.Diff(c.want, lines(learn.Propose(events, c.present))); diff != "" {
				t.Errorf("proposed (-want +got):\n%s", diff)
			}
		})
	}
}

func lines(proposals []learn.Proposal) (all []string) {
	for _, p := range proposals {
		rules := p.Destination.Rules
		switch d := p.Destination; {
		case p.Entry != "":
			all = append(all, fmt.Sprintf("entry %s, %d requests", p.Entry, p.Requests))
		case p.Extends != nil:
			all = append(all, fmt.Sprintf("extends %s, %d requests", p.Extends.Name, p.Requests))
			rules = p.Rules
		default:
			slash := ""
			if d.EncodedSlash == authority.EncodedSlashKeep {
				slash = " keep"
			}
			all = append(all, fmt.Sprintf("%s %v %s%s, %d requests", d.Host, d.Ports, d.TLS, slash, p.Requests))
		}
		for _, r := range rules {
			var methods []string
			for m, a := range r.Methods {
				methods = append(methods, m+"="+string(a))
			}
			slices.Sort(methods)
			all = append(all, r.Path+" "+strings.Join(methods, " ")+" "+r.Resource)
		}
	}
	return all
}

func TestManyPathsAreToldByTheirBeginnings(t *testing.T) {
	var few, many []authority.Event
	for i := range 100 {
		few = append(few, denied(t, fmt.Sprintf("missing_mandate GET https://a.example.org/%c/page-%c%c", 'a'+i%3, 'a'+i/10, 'a'+i%10)))
		many = append(many, denied(t, fmt.Sprintf("missing_mandate GET https://a.example.org/page-%c%c", 'a'+i/10, 'a'+i%10)))
	}
	if got := lines(learn.Propose(few, nil)); len(got) != 4 || got[1] != "/a/** GET=read api:a.example.org/a" {
		t.Errorf("paths of three beginnings are proposed as %q", got)
	}
	if got := lines(learn.Propose(many, nil)); len(got) != 2 || got[1] != "/** GET=read api:a.example.org" {
		t.Errorf("paths of no common beginning are proposed as %q", got)
	}
}

// What is proposed is good, and maps what was denied.
func TestWhatIsProposedMapsWhatWasDenied(t *testing.T) {
	var events []authority.Event
	for _, path := range []string{"/", "/a", "/a/", "/a/b%20c", "/a/2024-01-02", "/a:b/c*d", "/%C3%BC", "/01a2b3c4d5e6f7", "/a/%7Bb%7D", "/x@example.org", "/0b2e9c1a-7d3f-4c55-9a6e-0f1d2c3b4a59/f", "/a%2Fb"} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			events = append(events, denied(t, "missing_mandate "+method+" https://a.example.org"+path))
		}
	}
	proposals := learn.Propose(events, nil)
	if len(proposals) != 1 {
		t.Fatalf("%d proposals", len(proposals))
	}
	proposed, err := authority.NewCatalog([]authority.Destination{proposals[0].Destination})
	if err != nil {
		t.Fatal(err)
	}
	if len(proposals[0].Destination.Rules) < 9 {
		t.Errorf("the rules are %v", proposals[0].Destination.Rules)
	}
	for _, e := range events {
		r := e.Request
		if _, err := proposed.Resolve(r.Method, authority.Target{Scheme: r.Scheme, Host: r.Host, Port: r.Port, Path: r.Path}); err != nil {
			t.Errorf("%s %s is still refused: %v", r.Method, r.Path, err)
		}
	}
}
