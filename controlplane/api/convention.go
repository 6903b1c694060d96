package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// convention is what the document says of one operation that the handler does for all of them alike.
type convention struct {
	produces []string  // media types of its answers that are no refusals
	since    time.Time // when it was deprecated; zero unless it is
	sunset   time.Time // when it ends; zero where that is not told
}

// deprecationPolicy is where the rule is told that deprecated operations follow.
const deprecationPolicy = "https://github.com/caracal-gateway/caracal/blob/main/docs/rest.md#deprecation"

// readConventions reads the conventions of each operation, by method and path. An operation with `deprecated: true` has
// `x-deprecated-since` and may have `x-sunset`, both days of UTC.
func readConventions(document []byte) (map[string]convention, error) {
	var described struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(document, &described); err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	all := map[string]convention{}
	for path, item := range described.Paths {
		for method, text := range item {
			if !slices.Contains([]string{"get", "post", "put", "patch", "delete"}, method) {
				continue
			}
			name := strings.ToUpper(method) + " " + path
			c, err := readConvention(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[name] = c
		}
	}
	return all, nil
}

func readConvention(text []byte) (convention, error) {
	var c convention
	var operation struct {
		Deprecated bool   `json:"deprecated"`
		Since      string `json:"x-deprecated-since"`
		Sunset     string `json:"x-sunset"`
		Responses  map[string]struct {
			Content map[string]json.RawMessage `json:"content"`
		} `json:"responses"`
	}
	if err := json.Unmarshal(text, &operation); err != nil {
		return c, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	for status, response := range operation.Responses {
		if strings.HasPrefix(status, "2") {
			c.produces = append(c.produces, slices.Collect(maps.Keys(response.Content))...)
		}
	}
	if !operation.Deprecated {
		return c, nil
	}
	var err error
	if c.since, err = time.Parse(time.DateOnly, operation.Since); err != nil {
		return c, fmt.Errorf("x-deprecated-since: %w", err)
	}
	if operation.Sunset == "" {
		return c, nil
	}
	if c.sunset, err = time.Parse(time.DateOnly, operation.Sunset); err != nil {
		return c, fmt.Errorf("x-sunset: %w", err)
	}
	return c, nil
}

// announce tells clients in headers that an operation goes away, as RFC 9745 and RFC 8594 describe them.
func (c convention) announce(header http.Header) {
	if c.since.IsZero() {
		return
	}
	header.Set("Deprecation", "@"+strconv.FormatInt(c.since.Unix(), 10))
	header.Set("Link", "<"+deprecationPolicy+`>; rel="deprecation"; type="text/html"`)
	if !c.sunset.IsZero() {
		header.Set("Sunset", c.sunset.Format(http.TimeFormat))
	}
}

// acceptable reports whether the request's Accept headers admit a media type that the operation answers with.
func (c convention) acceptable(r *http.Request) bool {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" || len(c.produces) == 0 {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		ranged, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		if q, err := strconv.ParseFloat(parameters["q"], 64); err == nil && q == 0 {
			continue
		}
		if ranged == "*/*" || slices.Contains(c.produces, ranged) {
			return true
		}
		kind, any := strings.CutSuffix(ranged, "/*")
		if any && slices.ContainsFunc(c.produces, func(p string) bool { return strings.HasPrefix(p, kind+"/") }) {
			return true
		}
	}
	return false
}

// observed remembers the status of an answer, for the log.
type observed struct {
	http.ResponseWriter
	status int
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find what the connection can do.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// logged writes one line about an exchange that is over. The path is told as its pattern: what a caller puts into a path
// is not for the log.
func (h *Handler) logged(x *exchange, pattern string, status int, began time.Time) {
	h.log.LogAttrs(x.ctx(), slog.LevelDebug, "request", slog.String("request_id", x.id), slog.String("method", x.r.Method),
		slog.String("pattern", pattern), slog.Int("status", status), slog.Duration("took", time.Since(began)),
		slog.String("key", string(x.caller.Key())), slog.String("principal", string(x.caller.Principal().ID)))
}
