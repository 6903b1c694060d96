package authority

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// reading is how a catalog reads the requests to one port of a host over one scheme.
//
// Which of the templates that match a path decides is a matter of the templates alone: the walk compares them segment by
// segment. So the paths that one template of a reading decides, and one template of another, are none, or a path with
// values that no literal has is among them; such a witness shows what all of them are. Only for templates that go on in any
// way does the number of segments count, up to one more than the longest has.
type reading struct {
	served     bool // false: every request is refused
	host       string
	port       uint16
	keepsSlash bool
	rules      *ruleTree               // nil: no rule maps the requests
	templates  map[string]pathTemplate // by their keys
	keys       map[*Rule]string
}

// reading is that of a target's host, port and scheme; `*.suffix` is a host that only the suffix names.
func (c *Catalog) reading(t Target) reading {
	entry, err := c.lookup(t)
	if err != nil {
		return reading{}
	}
	r := reading{served: true, host: t.Host, port: t.Port, templates: map[string]pathTemplate{}}
	if entry != nil {
		r.keepsSlash, r.rules = entry.destination.EncodedSlash == EncodedSlashKeep, entry.rules
	}
	if r.rules == nil {
		every := pathTemplate{rest: true}
		r.templates[every.key()] = every
		return r
	}
	r.keys = make(map[*Rule]string, len(entry.destination.Rules))
	for i := range entry.destination.Rules {
		rule := &entry.destination.Rules[i]
		template, _ := parsePathTemplate(rule.Path) // which the catalog has read without a problem
		r.keys[rule] = template.key()
		r.templates[r.keys[rule]] = template
	}
	return r
}

// key is the same for templates that match the same paths. A control character is in no literal.
func (t pathTemplate) key() string {
	var b strings.Builder
	for _, s := range t.segments {
		if s.variable != "" {
			b.WriteString("\x01")
		}
		b.WriteString(s.literal + "\x02")
	}
	if t.rest {
		b.WriteString("\x03")
	}
	return "/" + b.String()
}

// meet is the template of the paths that both match.
func (t pathTemplate) meet(other pathTemplate) (pathTemplate, bool) {
	if len(t.segments) < len(other.segments) {
		t, other = other, t
	}
	if len(t.segments) > len(other.segments) && !other.rest {
		return pathTemplate{}, false
	}
	both := pathTemplate{segments: slices.Clone(t.segments), rest: t.rest && other.rest}
	for i, s := range other.segments {
		switch {
		case s.variable != "":
		case both.segments[i].variable != "":
			both.segments[i] = s
		case both.segments[i].literal != s.literal:
			return pathTemplate{}, false
		}
	}
	return both, true
}

// witness is a path that the template matches, with values that no literal has, and more segments of that kind.
func (t pathTemplate) witness(more int) []string {
	segments := make([]string, len(t.segments)+more)
	for i := range segments {
		segments[i] = "\x00" + strconv.Itoa(i)
		if i < len(t.segments) && t.segments[i].variable == "" {
			segments[i] = t.segments[i].literal
		}
	}
	return segments
}

func isAny(value string) bool { return strings.HasPrefix(value, "\x00") }

// text writes the template as a rule does, but with the names of variables that are given.
func (t pathTemplate) text() string {
	var b strings.Builder
	for _, s := range t.segments {
		if s.variable != "" {
			b.WriteString("/{" + s.variable + "}")
		} else {
			b.WriteString("/" + encodeSegment(s.literal))
		}
	}
	if t.rest {
		b.WriteString("/**")
	}
	return b.String()
}

func (t pathTemplate) hasSlash() bool {
	return slices.ContainsFunc(t.segments, func(s templateSegment) bool { return strings.Contains(s.literal, "/") })
}

// deciding is the key of the template that decides a path; empty where none does.
func (r reading) deciding(path []string) string {
	if !r.served {
		return ""
	}
	if r.rules == nil {
		return pathTemplate{rest: true}.key()
	}
	methods, _ := r.rules.find(path, nil)
	for _, c := range methods {
		return r.keys[c.rule] // all have the same
	}
	return ""
}

// methods are those that the reading names at a path, and `*` where it takes others too.
func (r reading) methods(path []string) []string {
	if !r.served {
		return nil
	}
	if r.rules == nil {
		return []string{"GET", "HEAD", "OPTIONS", anyMethod}
	}
	methods, _ := r.rules.find(path, nil)
	return slices.Collect(maps.Keys(methods))
}

// meaning is that of the paths of a template that a witness stands for; nil when they are refused.
func (r reading) meaning(method string, template pathTemplate, witness []string) *Meaning {
	if !r.served || template.hasSlash() && !r.keepsSlash {
		return nil
	}
	if r.rules == nil {
		return r.unmapped(method, template)
	}
	methods, values := r.rules.find(witness, nil)
	rule, listed := methods[method]
	if !listed {
		rule, listed = methods[anyMethod]
	}
	if !listed {
		return nil
	}
	exact := rule.resource.spell(values)
	return &Meaning{
		Resource: rule.rule.Resource, Actions: Actions{rule.action}, exact: exact + " " + string(rule.action),
		forms: []form{{text: starred(exact)}},
	}
}

// spell is expand for a witness.
func (t resourceTemplate) spell(values []string) string {
	var b strings.Builder
	for i, v := range t.variables {
		b.WriteString(t.texts[i])
		if isAny(values[v]) {
			b.WriteString(values[v])
		} else {
			b.WriteString(encodeSegment(values[v]))
		}
	}
	b.WriteString(t.texts[len(t.texts)-1])
	return b.String()
}

// starred writes a `*` for every segment of any value.
func starred(resource string) string {
	var b strings.Builder
	for rest := resource; ; {
		segment, separator, tail := cutSegment(rest)
		if isAny(segment) {
			segment = "*"
		}
		b.WriteString(segment)
		if separator == 0 {
			return b.String()
		}
		b.WriteByte(separator)
		rest = tail
	}
}

// unmapped is what no rule maps. A slash at the end of a path is part of its resource.
func (r reading) unmapped(method string, template pathTemplate) *Meaning {
	action := Write
	switch method {
	case "GET", "HEAD", "OPTIONS":
		action = Read
	}
	root := "host:" + r.host + ":" + strconv.Itoa(int(r.port))
	m := &Meaning{Resource: root + template.text(), Actions: Actions{action}, exact: root + " " + string(action)}
	path := ""
	for _, s := range template.segments {
		if s.variable != "" {
			path += "/*"
		} else {
			path += "/" + encodeSegment(s.literal)
		}
	}
	if path == "" || !template.rest {
		m.forms = append(m.forms, form{text: root + path + "/"})
	}
	if path != "" {
		m.forms = append(m.forms, form{text: root + path})
	}
	if template.rest {
		m.forms = append(m.forms, form{text: root + path + "/*", open: true})
	}
	return m
}

// compare finds what two readings take for different things, below a URL.
func (d *differences) compare(url string, a, b reading) error {
	longest := 0
	for _, r := range []reading{a, b} {
		for _, t := range r.templates {
			longest = max(longest, len(t.segments))
		}
	}
	for _, p := range pairs(a, b) {
		template, ok := p.a.meet(p.b)
		if !ok {
			continue
		}
		most := 0
		if template.rest {
			most = longest + 1 - len(template.segments)
		}
		for more := range most + 1 {
			if d.compared++; d.compared > maxCompared {
				return tooDifferent()
			}
			witness := template.witness(more)
			if a.deciding(witness) != p.keyA || b.deciding(witness) != p.keyB {
				continue
			}
			if err := d.hold(url+template.text(), template, witness, a, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold tells what of a witness's paths differs.
func (d *differences) hold(url string, template pathTemplate, witness []string, a, b reading) error {
	methods := append(a.methods(witness), b.methods(witness)...)
	slices.Sort(methods)
	for _, method := range slices.Compact(methods) {
		before, after := a.meaning(method, template, witness), b.meaning(method, template, witness)
		if !before.same(after) {
			if err := d.add(method, url, before, after); err != nil {
				return err
			}
		}
		if a.served && b.served && a.keepsSlash != b.keepsSlash && slices.ContainsFunc(witness, isAny) && !template.hasSlash() {
			if !a.keepsSlash {
				before = nil
			}
			if !b.keepsSlash {
				after = nil
			}
			if before.same(after) {
				continue
			}
			if err := d.add(method, url+" with an escaped slash", before, after); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Meaning) same(other *Meaning) bool {
	if m == nil || other == nil {
		return m == other
	}
	return m.exact == other.exact
}

// pair is a template of each of two readings, or every path and an empty key for what a reading refuses.
type pair struct {
	a, b       pathTemplate
	keyA, keyB string
}

// pairs are those of which there may be a path that the one decides by the first reading and the other by the second. Where
// both readings have both, the better of the two decides by either.
func pairs(a, b reading) []pair {
	all := func(r reading) []string { return append(slices.Sorted(maps.Keys(r.templates)), "") }
	of := func(r reading, key string) pathTemplate {
		if key == "" {
			return pathTemplate{rest: true}
		}
		return r.templates[key]
	}
	var list []pair
	for _, keyA := range all(a) {
		for _, keyB := range all(b) {
			_, alsoB := b.templates[keyA]
			_, alsoA := a.templates[keyB]
			switch {
			case keyA == keyB && keyA == "":
				continue
			case keyA == keyB:
			case (alsoB || keyA == "") && (alsoA || keyB == ""):
				continue
			}
			list = append(list, pair{of(a, keyA), of(b, keyB), keyA, keyB})
		}
	}
	return list
}
