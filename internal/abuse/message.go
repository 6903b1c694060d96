package abuse

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Names are what symbolic names stand for: token.agent, mandate.own and so on. Beside them ${hex:c3a9} stands for
// bytes, which YAML cannot hold, and ${repeat:x:9000} for a long text.
type Names map[string]string

// DefaultTarget is where a request goes that does not say so.
const DefaultTarget = "https://echo.caracal.test:9443/v1/chat/completions"

// absent leaves out what is otherwise sent.
const absent = "none"

// Message is a request without symbolic names, ready to be sent.
type Message struct {
	Method, Path, Host string
	Lines              []string // header lines, without the host's
	Body               string
	Trailers           []string
	verbatim           []string
}

// Message makes the request of a case out of what the names stand for.
func (c Case) Message(names Names) (Message, error) {
	r := c.Request
	m := Message{
		Method: or(r.Method, "POST"), Path: or(r.Path, "/api/proxy"), Host: or(r.Host, "gateway.test"),
		Body: r.Body, Trailers: append([]string(nil), r.Trailers...), verbatim: append([]string(nil), r.Lines...),
	}
	token := "token." + or(r.Caller, "agent")
	if r.Forged != nil {
		token = "forged"
	}
	if r.Caller != absent {
		m.Lines = append(m.Lines, "Authorization: Bearer ${"+token+"}")
	}
	if r.Mandate != absent {
		m.Lines = append(m.Lines, "X-Caracal-Mandate: ${mandate."+or(r.Mandate, "own")+"}")
	}
	if r.Target != absent {
		m.Lines = append(m.Lines, "X-Caracal-Target-URL: "+or(r.Target, DefaultTarget))
	}
	m.Lines = append(m.Lines, r.Headers...)
	for _, list := range [][]string{m.Lines, m.Trailers, m.verbatim} {
		for i := range list {
			if err := names.expand(&list[i]); err != nil {
				return Message{}, fmt.Errorf("case %s: %w", c.ID, err)
			}
		}
	}
	for _, text := range []*string{&m.Method, &m.Path, &m.Host, &m.Body} {
		if err := names.expand(text); err != nil {
			return Message{}, fmt.Errorf("case %s: %w", c.ID, err)
		}
	}
	if m.Host == absent {
		m.Host = ""
	}
	return m, nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

var symbol = regexp.MustCompile(`\$\{[^}]*\}`)

func (n Names) expand(text *string) error {
	var wrong error
	*text = symbol.ReplaceAllStringFunc(*text, func(found string) string {
		value, err := n.value(found[2 : len(found)-1])
		if err != nil {
			wrong = err
		}
		return value
	})
	return wrong
}

func (n Names) value(name string) (string, error) {
	if digits, ok := strings.CutPrefix(name, "hex:"); ok {
		bytes, err := hex.DecodeString(digits)
		return string(bytes), err
	}
	if rest, ok := strings.CutPrefix(name, "repeat:"); ok {
		unit, times, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(times)
		if err != nil || n < 0 || n > 1<<20 {
			return "", fmt.Errorf("%q does not say how often", name)
		}
		return strings.Repeat(unit, n), nil
	}
	value, ok := n[name]
	if !ok {
		return "", fmt.Errorf("nothing is named %q", name)
	}
	return value, nil
}

// Expand replaces the names in a text.
func (n Names) Expand(text string) (string, error) {
	err := n.expand(&text)
	return text, err
}

// Wire is the message in HTTP/1.1. A body without a length of its own gets one.
func (m Message) Wire() []byte {
	head := m.verbatim
	if head == nil {
		head = []string{m.Method + " " + m.Path + " HTTP/1.1"}
		if m.Host != "" {
			head = append(head, "Host: "+m.Host)
		}
		head = append(head, m.Lines...)
		if m.Body != "" && !m.has("content-length") && !m.has("transfer-encoding") {
			head = append(head, "Content-Length: "+strconv.Itoa(len(m.Body)))
		}
	}
	return []byte(strings.Join(head, "\r\n") + "\r\n\r\n" + m.Body)
}

// Field is a header as servers read its line.
type Field struct{ Name, Value string }

// Fields are the header lines, read as Envoy reads them: names in lower case, values without the space around them.
func (m Message) Fields() []Field {
	fields := make([]Field, len(m.Lines))
	for i, line := range m.Lines {
		name, value, _ := strings.Cut(line, ":")
		fields[i] = Field{strings.ToLower(name), strings.Trim(value, " \t")}
	}
	return fields
}

func (m Message) has(name string) bool {
	for _, field := range m.Fields() {
		if field.Name == name {
			return true
		}
	}
	return false
}
