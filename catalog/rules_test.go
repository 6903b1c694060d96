package catalog_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/catalog"
)

// rank orders actions by how much they do.
var rank = map[authority.Action]int{authority.Read: 1, authority.Write: 2, authority.Execute: 3}

func TestAMethodThatMayChangeSomethingIsToReadOnlyWhereARecordedRequestSaysSo(t *testing.T) {
	c := whole(t)
	recorded := map[*authority.Rule]bool{}
	for _, e := range catalog.Entries() {
		for _, r := range e.Requests {
			if match, err := judge(c, r); err == nil && match.Rule != nil && match.Action == authority.Read {
				recorded[match.Rule] = recorded[match.Rule] || r.Method == http.MethodPost
			}
		}
	}
	seen := map[string]bool{} // by what a rule is where regions and hosts share it
	for rule, posted := range recorded {
		if posted {
			seen[rule.Path+" "+rule.Resource] = true
		}
	}
	for _, e := range catalog.Entries() {
		for _, d := range e.Destinations {
			for _, r := range d.Rules {
				for method, action := range r.Methods {
					harmless := method == "GET" || method == "HEAD"
					if action != authority.Read || harmless || method == "POST" && seen[r.Path+" "+r.Resource] {
						continue
					}
					t.Errorf("%s: %s %s%s is to read, and no recorded request says so", e.Name, method, d.Host, r.Path)
				}
			}
		}
	}
}

// reserved are pairs of templates, in order, that could name the same resource if the service had not reserved the name.
var reserved = []string{
	"api:github/orgs/{org} api:github/{owner}/{repo}",   // https://github.com/orgs/… is no account
	"api:github/users/{user} api:github/{owner}/{repo}", // https://github.com/users/… is no account
}

func TestNoTwoRulesOfAnEntryNameTheSameResourceForDifferentThings(t *testing.T) {
	owner := map[string]string{} // of a template's first two segments
	for _, e := range catalog.Entries() {
		var rules []authority.Rule
		for _, d := range e.Destinations {
			rules = append(rules, d.Rules...)
		}
		for i, one := range rules {
			service := strings.Join(segments(one.Resource)[:2], ":")
			if service != "api:external" && owner[service] != "" && owner[service] != e.Name {
				t.Errorf("%s and %s both have resources under %s", owner[service], e.Name, service)
			}
			owner[service] = e.Name
			for _, other := range rules[:i] {
				pair := []string{one.Resource, other.Resource}
				slices.Sort(pair)
				if one.Resource == other.Resource || slices.Contains(reserved, strings.Join(pair, " ")) {
					continue
				}
				if meet(one.Resource, other.Resource) && !special(one, other) && !special(other, one) {
					t.Errorf("%s: %s and %s can name the same resource", e.Name, other.Resource, one.Resource)
				}
			}
		}
	}
}

func segments(template string) []string {
	return strings.FieldsFunc(template, func(c rune) bool { return c == '/' || c == ':' })
}

// meet reports whether two templates have a resource in common, whatever their variables hold.
func meet(one, other string) bool {
	a, b := segments(one), segments(other)
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !strings.HasPrefix(a[i], "{") && !strings.HasPrefix(b[i], "{") {
			return false
		}
	}
	return true
}

// special reports whether a rule is for one value of another's variables, which its path and its resource both name.
func special(rule, general authority.Rule) bool {
	path := general.Path
	a, b := segments(rule.Resource), segments(general.Resource)
	for i := range b {
		if strings.HasPrefix(b[i], "{") && !strings.HasPrefix(a[i], "{") {
			path = strings.ReplaceAll(path, b[i], a[i])
		}
	}
	return strings.TrimSuffix(path, "/**") == strings.TrimSuffix(rule.Path, "/**")
}

// A client that writes a slash as %2F may be understood by a lenient server as if it had not. It gets no further by that
// on the resource that it meant.
func TestAnEscapedSlashMakesNoRequestHarmless(t *testing.T) {
	c := whole(t)
	tried := 0
	for _, e := range catalog.Entries() {
		for _, r := range e.Requests {
			target, err := authority.ParseTarget(r.URL)
			if err != nil || r.Refused {
				continue
			}
			for i := 1; i < len(target.Path)-1; i++ {
				if target.Path[i] != '/' {
					continue
				}
				escaped := target
				escaped.Path = target.Path[:i] + "%2F" + target.Path[i+1:]
				match, err := c.Resolve(r.Method, escaped)
				if err == nil && match.Resource == r.Resource && rank[match.Action] < rank[r.Action] {
					t.Errorf("%s: %s %s is to %s, and %s is to %s", e.Name, r.Method, r.URL, r.Action, escaped.Path, match.Action)
				}
				tried++
			}
		}
	}
	if tried < 500 {
		t.Errorf("only %d spellings were tried", tried)
	}
}

func TestWhatChangesSomethingAtOneHostIsNotToReadAtAnotherOfItsEntry(t *testing.T) {
	c := whole(t)
	for _, e := range catalog.Entries() {
		for _, r := range e.Requests {
			target, err := authority.ParseTarget(r.URL)
			if err != nil || r.Refused || r.Action == authority.Read || r.Method == http.MethodGet {
				continue
			}
			for _, d := range e.Destinations {
				target.Host = strings.Replace(d.Host, "*", "any", 1)
				if match, err := c.Resolve(r.Method, target); err == nil && match.Action == authority.Read {
					t.Errorf("%s: %s %s is to %s, and to read at %s", e.Name, r.Method, r.URL, r.Action, target.Host)
				}
			}
		}
	}
}

func TestADestinationOfAnEntryIsClosed(t *testing.T) {
	for _, e := range catalog.Entries() {
		for _, d := range e.Destinations {
			if len(d.Rules) == 0 {
				t.Errorf("%s: %s has no rules, so that it is open under host resources", e.Name, d.Name)
			}
			if d.Tunnel != authority.TunnelInspect {
				t.Errorf("%s: what is in a tunnel to %s is not seen", e.Name, d.Name)
			}
			if d.Credential != nil || d.Private() || d.ConnectTo != "" || d.CA != "" {
				t.Errorf("%s: %s says more than what is public", e.Name, d.Name)
			}
		}
	}
}
