package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caracal-gateway/caracal/authority"
)

// maxDepth is how deep a body may nest.
const maxDepth = 32

// decode reads the exchange's JSON body into structs that share its members between them. A body that says something they have no place for, or says
// something twice, is refused: what a caller wrote and what is done never differ.
func (x *exchange) decode(into ...any) error {
	if len(x.body) == 0 {
		return authority.Invalid("", "a JSON object is required as the body")
	}
	mediaType, parameters, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if charset := parameters["charset"]; err != nil || mediaType != "application/json" ||
		charset != "" && !strings.EqualFold(charset, "utf-8") {
		return errMediaType
	}
	return decodeJSON(x.body, into...)
}

// decodeOptional reads a body that may be absent.
func (x *exchange) decodeOptional(into any) error {
	if len(x.body) == 0 {
		return nil
	}
	return x.decode(into)
}

func decodeJSON(text []byte, into ...any) error {
	if !utf8.Valid(text) {
		return authority.Invalid("", "the body is not valid UTF-8")
	}
	tokens := json.NewDecoder(bytes.NewReader(text))
	tokens.UseNumber()
	whole := &shape{tokens: tokens}
	for _, target := range into[1:] {
		whole.beside = append(whole.beside, reflect.TypeOf(target).Elem())
	}
	err := whole.value(reflect.TypeOf(into[0]).Elem(), "", 0)
	if err == nil {
		if _, end := tokens.Token(); !errors.Is(end, io.EOF) {
			err = authority.Invalid("", "the body goes on after its JSON value")
		}
	}
	for _, target := range into {
		if err == nil {
			err = json.Unmarshal(text, target)
		}
	}
	return explain(err)
}

// given is a text that a body may leave out, where an empty one is not the same.
type given struct {
	text string
	is   bool // it is not left out
}

// UnmarshalJSON reads the text.
func (g *given) UnmarshalJSON(text []byte) error {
	g.is = true
	return json.Unmarshal(text, &g.text)
}

// explain names the field that a failure of decoding is about.
func explain(err error) error {
	var told *authority.Error
	var mistyped *json.UnmarshalTypeError
	var malformed *json.SyntaxError
	switch {
	case err == nil || errors.As(err, &told):
		return err
	case errors.As(err, &mistyped):
		return authority.Invalid(mistyped.Field, "a JSON %s does not fit here", mistyped.Value)
	case errors.As(err, &malformed):
		return authority.Invalid("", "the body is not valid JSON at byte %d", malformed.Offset)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return authority.Invalid("", "the body is not valid JSON: it ends too early")
	}
	return authority.Invalid("", "the body is not valid: %v", err)
}

// shape walks a JSON text beside the Go type that it is for.
type shape struct {
	tokens *json.Decoder
	beside []reflect.Type // further types for the members of the whole
}

// value walks one value. A nil type stands for anything.
func (s *shape) value(t reflect.Type, at string, depth int) error {
	if depth > maxDepth {
		return authority.Invalid(at, "nested deeper than %d", maxDepth)
	}
	token, err := s.tokens.Token()
	if err != nil {
		return err
	}
	if token == nil && !takesNull(t) {
		return authority.Invalid(at, "null does not fit here; leave the field out")
	}
	if text, ok := token.(string); ok {
		if err := readable(t, text, at); err != nil {
			return err
		}
	}
	t = transparent(t)
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return s.object(t, at, depth)
		}
		return s.list(t, at, depth)
	case string:
		if strings.ContainsRune(token, 0) {
			return authority.Invalid(at, "holds a NUL character")
		}
	}
	return nil
}

// takesNull reports whether null says something in a place of a type. In any other encoding/json would leave it as if it
// were absent.
func takesNull(t reflect.Type) bool {
	if t == nil {
		return true
	}
	return slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map}, t.Kind())
}

func (s *shape) list(t reflect.Type, at string, depth int) error {
	var element reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		element = t.Elem()
	}
	for i := 0; s.tokens.More(); i++ {
		if err := s.value(element, at+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
			return err
		}
	}
	_, err := s.tokens.Token()
	return err
}

func (s *shape) object(t reflect.Type, at string, depth int) error {
	seen := map[string]bool{}
	for s.tokens.More() {
		token, err := s.tokens.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder lets nothing else begin a member
		field := name
		if at != "" {
			field = at + "." + name
		}
		if strings.ContainsRune(name, 0) {
			return authority.Invalid(at, "has a member whose name holds a NUL character")
		}
		if seen[name] {
			return authority.Invalid(field, "is given twice")
		}
		seen[name] = true
		member, known := memberType(t, name)
		for i := 0; depth == 0 && !known && i < len(s.beside); i++ {
			member, known = memberType(s.beside[i], name)
		}
		if !known {
			return authority.Invalid(field, "there is no such field")
		}
		if err := s.value(member, field, depth+1); err != nil {
			return err
		}
	}
	_, err := s.tokens.Token()
	return err
}

// memberType finds the type of an object's member by its exact name.
func memberType(t reflect.Type, name string) (reflect.Type, bool) {
	if t == nil {
		return nil, true
	}
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), true
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == name && tag != "-" {
				return f.Type, true
			}
		}
		return nil, false
	default:
		return nil, true // json.Unmarshal says that an object does not fit
	}
}

// readable refuses a text that is no time or no range of addresses in the place of one: encoding/json would not say which
// field it is about, and in terms of the program's.
func readable(t reflect.Type, text, at string) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return authority.Invalid(at, "is not a time such as 2026-01-15T10:30:00Z")
		}
	case reflect.TypeFor[netip.Prefix]():
		if _, err := netip.ParsePrefix(text); err != nil {
			return authority.Invalid(at, "is not a range of addresses such as 192.0.2.0/24")
		}
	}
	return nil
}

// transparent is the type that a value of t is made of, nil for types that read their own text and for any.
func transparent(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface {
		return nil
	}
	pointer := reflect.PointerTo(t)
	if pointer.Implements(reflect.TypeFor[json.Unmarshaler]()) || pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	return t
}
