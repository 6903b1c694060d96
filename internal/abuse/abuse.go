// Package abuse holds attacks on the gateway as data, and reads them. Each case is one request, told in symbolic names
// for tokens and mandates, with the answer that it must get and what the upstream may see of it. The tests of this
// package play every case at the decision service and through a gateway with its real Envoy; a case is added to one of
// the YAML files beside this one, without Go.
package abuse

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed *.yaml
var files embed.FS

// elsewhereFile lists the tests outside of this package; it holds no cases.
const elsewhereFile = "elsewhere.yaml"

// Level is where a case is played.
type Level string

// The levels: the decision service alone, given what Envoy would tell it, and a gateway with its real Envoy.
const (
	AtCheck Level = "check"
	AtEnvoy Level = "envoy"
)

// Case is one attack, or one harmless request beside it that must keep working.
type Case struct {
	// ID is a row of the threat model, a dot, and a name within the row.
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Levels  []Level `json:"levels"`
	Request Request `json:"request"`
	Answer  Answer  `json:"answer"`
	// EnvoyAnswer stands in for Answer where Envoy refuses a message before it asks for a decision.
	EnvoyAnswer *Answer `json:"envoy_answer"`
	// Upstream is the one request that the upstream must get. Without it the upstream must get nothing.
	Upstream *Upstream `json:"upstream"`
}

// Request is what is sent. Every text in it may hold names in the form ${name}, see [Names].
type Request struct {
	Protocol string `json:"protocol"` // http/1.1, which is the default, or h2
	Method   string `json:"method"`   // POST by default
	Path     string `json:"path"`     // /api/proxy by default
	Host     string `json:"host"`     // gateway.test by default; "none" sends none

	// The headers that the contract asks for; "none" leaves one out. Caller and Mandate name a token and a mandate:
	// agent and own by default. Target is a URL; the echo upstream by default.
	Caller  string `json:"caller"`
	Mandate string `json:"mandate"`
	Target  string `json:"target"`

	Headers []string `json:"headers"` // lines as they are sent, after the others
	Body    string   `json:"body"`
	// Forged makes the caller's token; Caller is then not used.
	Forged *Forged `json:"forged"`

	// Lines are the whole head of the message, as it is sent; nothing is added to it.
	Lines    []string `json:"lines"`
	Trailers []string `json:"trailers"` // of an h2 request
}

// Forged is a JWT. What is left empty is as the workspace itself would make it.
type Forged struct {
	Header string `json:"header"` // JSON
	Claims string `json:"claims"` // JSON
	// Key signs: token (the default), mandate, bundle or foreign; public is HMAC with the public key for its secret,
	// and none leaves the signature empty.
	Key string `json:"key"`
}

// Answer is what the caller gets.
type Answer struct {
	Status int    `json:"status"`
	Error  string `json:"error"` // the stable code; empty where the request passes
	Code   string `json:"code"`  // of the workspace's own policy
	// GRPC is the status of gRPC that a refusal comes as, with the HTTP status 200, when the request is one of gRPC.
	GRPC int `json:"grpc"`
	// Reset says that the stream ends without an answer, as HTTP/2 asks for where a message is malformed.
	Reset bool `json:"reset"`
	// Closed says that Envoy takes nothing more on the connection, so that what follows is not taken for a request.
	Closed bool `json:"closed"`
}

func (a Answer) refuses() bool { return a.Error != "" || a.GRPC != 0 || a.Reset }

// Upstream is a request as it arrives there. Whatever the case, it carries nothing that is between caller and gateway.
type Upstream struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Body    *string             `json:"body"`    // what was sent, by default
	Headers map[string][]string `json:"headers"` // exactly these values
	Absent  []string            `json:"absent"`  // how the names begin of headers that must not arrive
}

// Elsewhere names a test in another package that proves a row, or a part of one.
type Elsewhere struct {
	Row     string `json:"row"`
	Title   string `json:"title"`
	Package string `json:"package"`
	Test    string `json:"test"`
}

// Row is the row of the threat model that the case belongs to.
func (c Case) Row() string {
	row, _, _ := strings.Cut(c.ID, ".")
	return row
}

// At reports whether the case is played at a level.
func (c Case) At(level Level) bool { return slices.Contains(c.Levels, level) }

// AnswerAt is what the caller gets at a level.
func (c Case) AnswerAt(level Level) Answer {
	if level == AtEnvoy && c.EnvoyAnswer != nil {
		return *c.EnvoyAnswer
	}
	return c.Answer
}

// Cases reads every case, in the order of the files and within them. An error names the file and the case.
func Cases() ([]Case, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list abuse cases: %w", err)
	}
	var all []Case
	seen := map[string]bool{}
	for _, name := range names {
		if name == elsewhereFile {
			continue
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read abuse cases: %w", err)
		}
		cases, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, c := range cases {
			if seen[c.ID] {
				return nil, fmt.Errorf("%s: case %q is there twice", name, c.ID)
			}
			seen[c.ID] = true
		}
		all = append(all, cases...)
	}
	return all, nil
}

// Parse reads the cases of one file. What the schema does not know, and a case that contradicts itself, is an error.
func Parse(text []byte) ([]Case, error) {
	var cases []Case
	if err := yaml.UnmarshalStrict(text, &cases); err != nil {
		return nil, fmt.Errorf("parse abuse cases: %w", err)
	}
	for _, c := range cases {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("case %q: %w", c.ID, err)
		}
	}
	return cases, nil
}

// ElsewhereTests reads the list of tests in other packages.
func ElsewhereTests() ([]Elsewhere, error) {
	text, err := files.ReadFile(elsewhereFile)
	if err != nil {
		return nil, fmt.Errorf("read tests elsewhere: %w", err)
	}
	var list []Elsewhere
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", elsewhereFile, err)
	}
	return list, nil
}

var idForm = regexp.MustCompile(`^[A-Z][0-9]{1,2}\.[a-z0-9-]+$`)

// check refuses a case that says less, or something else, than it seems to.
func (c Case) check() error {
	r := c.Request
	switch {
	case !idForm.MatchString(c.ID):
		return errors.New("the id is not a row, a dot and a name")
	case c.Title == "":
		return errors.New("it has no title")
	case len(c.Levels) == 0 || slices.ContainsFunc(c.Levels, func(l Level) bool { return l != AtCheck && l != AtEnvoy }):
		return errors.New("the levels are check, envoy or both")
	case c.EnvoyAnswer != nil && !c.At(AtEnvoy):
		return errors.New("it has an answer of Envoy's and is not played through it")
	case c.Answer.Closed && c.At(AtCheck):
		return errors.New("only Envoy closes connections")
	case c.At(AtCheck) && (r.Lines != nil || r.Trailers != nil):
		return errors.New("only Envoy reads lines and trailers")
	case r.Protocol != "" && r.Protocol != "http/1.1" && r.Protocol != "h2":
		return errors.New("the protocol is http/1.1 or h2")
	case r.Lines != nil && r.Protocol == "h2", r.Trailers != nil && r.Protocol != "h2":
		return errors.New("lines are of http/1.1, trailers of h2")
	}
	for _, level := range c.Levels {
		answer := c.AnswerAt(level)
		if answer.refuses() == (c.Upstream != nil) || (answer.Error == "") != (answer.Status < 400) {
			return errors.New("a request is refused, or the upstream gets it")
		}
	}
	return nil
}
