package authority

import "strings"

const (
	maxTemplateSegments = 32
	maxVariableBytes    = 32
)

// templateSegment is a literal, decoded, or the name of a variable.
type templateSegment struct {
	literal  string
	variable string
}

// pathTemplate is a rule's path. A trailing slash makes no difference to it: `/a` and `/a/` are one place for rules,
// since many servers serve one for the other. A final `**` covers no, one or more further segments.
type pathTemplate struct {
	segments []templateSegment
	rest     bool
}

// parsePathTemplate reads a path template, or says why it is refused.
func parsePathTemplate(text string) (t pathTemplate, problem string) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return t, "does not begin with /"
	}
	if len(text) > maxResourceBytes {
		return t, "is longer than 512 bytes"
	}
	if rest == "" {
		return t, ""
	}
	raws := strings.Split(rest, "/")
	if raws[len(raws)-1] == "**" {
		t.rest, raws = true, raws[:len(raws)-1]
	}
	if len(raws) > maxTemplateSegments {
		return t, "has more than 32 segments"
	}
	for _, raw := range raws {
		segment, problem := parseTemplateSegment(raw)
		if problem != "" {
			return t, problem
		}
		if segment.variable != "" && t.index(segment.variable) >= 0 {
			return t, "has the variable {" + segment.variable + "} twice"
		}
		t.segments = append(t.segments, segment)
	}
	return t, ""
}

func parseTemplateSegment(raw string) (templateSegment, string) {
	if strings.ContainsAny(raw, "{}") {
		name, problem := variableName(raw)
		return templateSegment{variable: name}, problem
	}
	if strings.Contains(raw, "*") {
		return templateSegment{}, "has a * that is not a final **; write a literal one as %2A"
	}
	if raw == "" {
		return templateSegment{}, "has an empty segment; leave a final / out, it makes no difference"
	}
	literal, problem := decodeSegment(raw)
	if problem != "" {
		return templateSegment{}, "is refused: " + problem
	}
	return templateSegment{literal: literal}, ""
}

// index finds a variable's place among the template's variables; -1 when it has none of that name.
func (t pathTemplate) index(variable string) int {
	i := 0
	for _, s := range t.segments {
		if s.variable == variable && variable != "" {
			return i
		}
		if s.variable != "" {
			i++
		}
	}
	return -1
}

// variableName reads a segment of the form {name}.
func variableName(segment string) (name, problem string) {
	name, opened := strings.CutPrefix(segment, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed {
		return "", "has a brace inside a segment; a variable is a whole segment"
	}
	ok := name != "" && len(name) <= maxVariableBytes && name[0] >= 'a' && name[0] <= 'z'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || isDigit(c) || c == '_')
	}
	if !ok {
		return "", "has a variable that is not 1 to 32 lower-case letters, digits and underscores, first a letter"
	}
	return name, ""
}

// resourceTemplate is a rule's resource: text pieces with the values of variables between them.
type resourceTemplate struct {
	texts     []string // one more than there are variables
	variables []int    // indices among the path's variables
}

// parseResourceTemplate reads a resource template over the variables of a path, or says why it is refused.
func parseResourceTemplate(text string, path pathTemplate) (t resourceTemplate, problem string) {
	var piece, sample strings.Builder
	for rest := text; ; {
		segment, separator, tail := cutSegment(rest)
		if strings.ContainsAny(segment, "{}") {
			name, problem := variableName(segment)
			if problem != "" {
				return t, problem
			}
			i := path.index(name)
			if i < 0 {
				return t, "has the variable {" + name + "}, which the path does not have"
			}
			t.texts, t.variables = append(t.texts, piece.String()), append(t.variables, i)
			piece.Reset()
			sample.WriteString("x")
		} else {
			piece.WriteString(segment)
			sample.WriteString(segment)
		}
		if separator == 0 {
			break
		}
		piece.WriteByte(separator)
		sample.WriteByte(separator)
		rest = tail
	}
	t.texts = append(t.texts, piece.String())
	if problem := resourceProblem(sample.String(), false); problem != "" {
		return t, "does not make a resource: " + problem
	}
	switch first, _, _ := cutSegment(text); {
	case strings.HasPrefix(first, "{"):
		return t, "begins with a variable; the first segment must be literal"
	case first == "host" || first == "tunnel":
		return t, "begins with " + first + ", which names traffic that no rule maps"
	}
	return t, ""
}

// expand puts the decoded values of the path's variables into the template.
func (t resourceTemplate) expand(values []string) string {
	if len(t.variables) == 0 {
		return t.texts[0]
	}
	var b strings.Builder
	for i, v := range t.variables {
		b.WriteString(t.texts[i])
		b.WriteString(encodeSegment(values[v]))
	}
	b.WriteString(t.texts[len(t.texts)-1])
	return b.String()
}
