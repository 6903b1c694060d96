package authority

import (
	"fmt"
)

const (
	maxRules   = 200
	maxMethods = 16
	anyMethod  = "*"
)

// ruleTree finds the most specific rule for a path. Its depth is the position in the path, so a walk that prefers
// literals to variables and variables to `**` and steps back from dead ends visits each node at most once.
type ruleTree struct {
	literals map[string]*ruleTree
	variable *ruleTree
	here     map[string]compiledRule // by method, for paths that end at this node
	rest     map[string]compiledRule // by method, for paths that go on in any way, or end
}

type compiledRule struct {
	rule     *Rule
	action   Action
	resource resourceTemplate
}

// compileRules builds the tree, or says as an invalid_request which rule is malformed or equals another.
func compileRules(rules []Rule) (*ruleTree, error) {
	if len(rules) > maxRules {
		return nil, Invalid("rules", "has more than %d rules", maxRules)
	}
	root := new(ruleTree)
	for i := range rules {
		if err := root.add(&rules[i]); err != nil {
			return nil, Within("rules", Within(index(i), err))
		}
	}
	return root, nil
}

func (n *ruleTree) add(r *Rule) error {
	path, problem := parsePathTemplate(r.Path)
	if problem != "" {
		return Invalid("path", "path %q %s", clip(r.Path), problem)
	}
	resource, problem := parseResourceTemplate(r.Resource, path)
	if problem != "" {
		return Invalid("resource", "resource %q %s", clip(r.Resource), problem)
	}
	if len(r.Methods) == 0 || len(r.Methods) > maxMethods {
		return Invalid("methods", "a rule has 1 to %d methods", maxMethods)
	}
	methods := n.node(path)
	for method, action := range r.Methods {
		if method != anyMethod && !isMethod(method) || neverForwarded(method) {
			return Invalid("methods", "%q is neither an upper-case method that can be forwarded nor *", clip(method))
		}
		if _, err := ParseAction(string(action)); err != nil {
			return Within("methods", Within(method, err))
		}
		if equal, taken := methods[method]; taken {
			return Invalid("path", "path %q with %s equals path %q of another rule", clip(r.Path), method, clip(equal.rule.Path))
		}
		methods[method] = compiledRule{rule: r, action: action, resource: resource}
	}
	return nil
}

// node finds or makes the place of a path, and returns its methods.
func (n *ruleTree) node(path pathTemplate) map[string]compiledRule {
	for _, s := range path.segments {
		next := n.variable
		if s.variable == "" {
			next = n.literals[s.literal]
		}
		if next == nil {
			next = new(ruleTree)
			if s.variable != "" {
				n.variable = next
			} else {
				if n.literals == nil {
					n.literals = make(map[string]*ruleTree)
				}
				n.literals[s.literal] = next
			}
		}
		n = next
	}
	methods := &n.here
	if path.rest {
		methods = &n.rest
	}
	if *methods == nil {
		*methods = make(map[string]compiledRule)
	}
	return *methods
}

// find returns the methods of the most specific template that matches, and the values of its variables.
func (n *ruleTree) find(segments, values []string) (map[string]compiledRule, []string) {
	if len(segments) == 0 {
		if n.here != nil {
			return n.here, values
		}
		return n.rest, values
	}
	if next := n.literals[segments[0]]; next != nil {
		if methods, found := next.find(segments[1:], values); methods != nil {
			return methods, found
		}
	}
	if n.variable != nil {
		if methods, found := n.variable.find(segments[1:], append(values, segments[0])); methods != nil {
			return methods, found
		}
	}
	return n.rest, values
}

// resolve maps a method and the decoded segments of a path. A path or method that no rule lists is target_not_allowed.
func (n *ruleTree) resolve(method string, segments []string) (*Rule, Resource, Action, error) {
	if last := len(segments) - 1; last >= 0 && segments[last] == "" {
		segments = segments[:last]
	}
	methods, values := n.find(segments, nil)
	if methods == nil {
		return nil, "", "", Refused(ReasonTargetNotAllowed, "no rule of the destination lists this path")
	}
	c, listed := methods[method]
	if !listed {
		c, listed = methods[anyMethod]
	}
	if !listed {
		return nil, "", "", Refused(ReasonTargetNotAllowed, "the destination's rule for this path does not list the method %s", clip(method))
	}
	resource := c.resource.expand(values)
	if problem := resourceProblem(resource, false); problem != "" {
		return nil, "", "", Refused(ReasonTargetNotAllowed, "the path does not name a resource: %s", problem)
	}
	return c.rule, Resource(resource), c.action, nil
}

// isMethod reports whether s is a method as methods are registered: upper-case letters and inner hyphens.
func isMethod(s string) bool {
	if s == "" || len(s) > 32 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// neverForwarded reports whether a method must not reach an upstream as a request: a tunnel is not one, and an echo
// would tell the caller the credential that goes along.
func neverForwarded(method string) bool {
	return method == "CONNECT" || method == "TRACE" || method == "TRACK"
}

// describe names a destination in a message.
func (d Destination) describe() string {
	if d.Name == "" {
		return d.Host
	}
	return fmt.Sprintf("%q", clip(d.Name))
}
