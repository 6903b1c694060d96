package rego

import (
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Input is what a policy sees: the request, by whom and under which mandate, and what Go established about it. Its JSON
// form is described by InputSchema.
type Input struct {
	Request   Request
	Principal Principal
	Mandate   Mandate
	Resource  string // the resource that the request needs
	Action    string // the action that the request needs: read, write or execute
	Workspace Workspace
	Time      time.Time // the time of the decision
	Facts     Facts
}

// Mode says how a request reached Caracal.
type Mode string

// The modes of a request.
const (
	ModeGateway  Mode = "gateway"  // by the gateway port, to /api/proxy
	ModeReverse  Mode = "reverse"  // by the gateway port, below the base path of a destination
	ModeForward  Mode = "forward"  // by the proxy port, in absolute form
	ModeConnect  Mode = "connect"  // by the proxy port, for an opaque tunnel
	ModeInside   Mode = "inside"   // through a tunnel that is looked into
	ModeForeign  Mode = "foreign"  // by somebody else's Envoy, which asks
	ModeValidate Mode = "validate" // not at all: a call asks about a resource and an action
)

// Request is the request in canonical form. With ModeValidate only the mode is set; with ModeConnect
// there is no path.
type Request struct {
	Mode   Mode
	Method string            // upper case
	Host   string            // lower case, without the port
	Port   int               //
	Path   []string          // the segments, percent-decoded
	Header map[string]string // those that policies may see, by names in lower case; never a credential
}

// Principal is who makes the request.
type Principal struct {
	ID       string
	Type     string // agent, user or service
	Name     string
	Metadata map[string]string
}

// Mandate is the mandate that the request is judged by.
type Mandate struct {
	ID              string
	IssuerID        string
	SubjectID       string
	Resources       []string // patterns
	Actions         []string // expanded: read, write, execute
	ValidFrom       time.Time
	ValidUntil      time.Time
	Level           int // the distance from the root
	DelegationDepth int // how many further delegations are allowed
	RequestedBy     string
	Consent         string // explicit or standing
	PolicyID        string
	PolicyVersion   int64
	Chain           []Link // from the root to this mandate, which is the last
}

// Link is one mandate of a chain.
type Link struct {
	ID        string
	IssuerID  string
	SubjectID string
}

// Workspace is the workspace that the mandate belongs to.
type Workspace struct {
	ID   string
	Slug string
}

// Facts is what Go established before Rego is asked. One that is false denies, whatever the policy says.
type Facts struct {
	Known            bool // the mandate exists in this workspace
	Presenter        bool // whoever presents it is its subject
	Live             bool // neither it nor any mandate above it is revoked
	PrincipalsActive bool // nobody in its chain is suspended
	WithinTime       bool // the time lies within its validity
	Action           bool // it covers the action
	Resource         bool // it covers the resource
	Chain            bool // each mandate of its chain is contained in the one above it
}

// established reports whether every fact holds: the floor under whatever Rego decides.
func (f Facts) established() bool {
	return f.Known && f.Presenter && f.Live && f.PrincipalsActive && f.WithinTime && f.Action && f.Resource && f.Chain
}

// value builds the input as OPA holds it, without the detour over JSON, which would cost more than the evaluation.
func (in Input) value() ast.Value {
	return object(
		"request", object(
			"mode", text(string(in.Request.Mode)),
			"method", text(in.Request.Method),
			"host", text(in.Request.Host),
			"port", number(int64(in.Request.Port)),
			"path", texts(in.Request.Path),
			"headers", dictionary(in.Request.Header),
		),
		"principal", object(
			"id", text(in.Principal.ID),
			"type", text(in.Principal.Type),
			"name", text(in.Principal.Name),
			"metadata", dictionary(in.Principal.Metadata),
		),
		"mandate", in.Mandate.value(),
		"resource", text(in.Resource),
		"action", text(in.Action),
		"workspace", object(
			"id", text(in.Workspace.ID),
			"slug", text(in.Workspace.Slug),
		),
		"time", number(in.Time.UnixNano()),
		"facts", in.Facts.value(),
	)
}

func (m Mandate) value() ast.Value {
	chain := make([]*ast.Term, len(m.Chain))
	for i, l := range m.Chain {
		chain[i] = ast.NewTerm(object(
			"id", text(l.ID),
			"issuer_id", text(l.IssuerID),
			"subject_id", text(l.SubjectID),
		))
	}
	return object(
		"id", text(m.ID),
		"issuer_id", text(m.IssuerID),
		"subject_id", text(m.SubjectID),
		"resources", texts(m.Resources),
		"actions", texts(m.Actions),
		"valid_from", number(m.ValidFrom.UnixNano()),
		"valid_until", number(m.ValidUntil.UnixNano()),
		"level", number(int64(m.Level)),
		"delegation_depth", number(int64(m.DelegationDepth)),
		"requested_by", text(m.RequestedBy),
		"consent", text(m.Consent),
		"policy_id", text(m.PolicyID),
		"policy_version", number(m.PolicyVersion),
		"chain", ast.NewArray(chain...),
	)
}

func (f Facts) value() ast.Value {
	return object(
		"known", ast.Boolean(f.Known),
		"presenter", ast.Boolean(f.Presenter),
		"live", ast.Boolean(f.Live),
		"principals_active", ast.Boolean(f.PrincipalsActive),
		"within_time", ast.Boolean(f.WithinTime),
		"action", ast.Boolean(f.Action),
		"resource", ast.Boolean(f.Resource),
		"chain", ast.Boolean(f.Chain),
	)
}

// object takes names and values in turn.
func object(pairs ...any) ast.Value {
	o := ast.NewObjectWithCapacity(len(pairs) / 2)
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Insert(ast.InternedTerm(pairs[i].(string)), ast.NewTerm(pairs[i+1].(ast.Value)))
	}
	return o
}

func dictionary(m map[string]string) ast.Value {
	o := ast.NewObjectWithCapacity(len(m))
	for name, value := range m {
		o.Insert(ast.StringTerm(name), ast.StringTerm(value))
	}
	return o
}

func texts(list []string) ast.Value {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.StringTerm(s)
	}
	return ast.NewArray(terms...)
}

func text(s string) ast.Value { return ast.String(s) }

func number(n int64) ast.Value { return ast.Number(strconv.FormatInt(n, 10)) }
