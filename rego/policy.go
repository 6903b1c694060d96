// Package rego compiles, vets, tests and evaluates the policies that workspaces write, on top of the base policy that
// every decision goes through.
//
// It takes and returns plain values and shares nothing between policies. A policy can only narrow: what the facts of
// the input refuse, no Rego permits, and every error denies.
package rego

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/cache"
	"github.com/open-policy-agent/opa/v1/util"
)

//go:embed policy/base.rego
var basePolicy string

//go:embed policy/input.schema.json
var inputSchema string

// The paths of our own modules hold a character that the path of a workspace's module cannot.
const (
	basePath      = "caracal:base.rego"
	workspacePath = "caracal:workspace.rego"
)

// compileLimit bounds a compilation whose context does not.
const compileLimit = 10 * time.Second

// Evaluations do nothing but compute, so a few workers for each processor keep it busy.
const (
	workersPerCPU = 8
	workerIdle    = 10 * time.Second
)

// deadlineGrace is how long past its deadline an evaluation may still end.
const deadlineGrace = 5 * time.Millisecond

// maxCachedPatterns bounds the compiled regular expressions and globs that a policy keeps.
const maxCachedPatterns = 1000

// ErrTimeout is the error of an evaluation that did not end before its deadline.
var ErrTimeout = errors.New("policy deadline exceeded")

// Policy is a compiled policy. It never changes and is safe for concurrent use.
type Policy struct {
	compiler *ast.Compiler
	query    ast.Body
	queries  ast.QueryCompiler
	store    storage.Store
	reading  storage.Transaction // the store is never written, so one transaction serves every evaluation
	builtins map[string]*topdown.Builtin
	patterns cache.InterQueryValueCache
	deadline time.Duration
	// waiting hands evaluations to workers that are idle. workers holds one token for each worker: an evaluation that
	// OPA cannot stop keeps its worker, so that a policy which hangs takes a bounded number of them with it.
	waiting chan *evaluation
	workers chan struct{}
}

// InputSchema returns the JSON schema of the input, against which policies are type-checked.
func InputSchema() []byte { return []byte(inputSchema) }

// Compile vets the source and prepares it for evaluation; tests are vetted, but not compiled. An empty source is the
// base policy alone. What is wrong with the source comes as an InvalidError.
func Compile(ctx context.Context, src Source) (*Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, compileLimit)
	defer cancel()
	p, err := interruptible(ctx, func() (*Policy, error) { return compile(ctx, src) })
	if err != nil {
		return nil, fmt.Errorf("compile policy: %w", err)
	}
	return p, nil
}

func compile(ctx context.Context, src Source) (*Policy, error) {
	parsed, err := parse(src)
	if err != nil {
		return nil, err
	}
	modules, err := parsed.modules()
	if err != nil {
		return nil, err
	}
	compiler, err := newCompiler(capabilities(false))
	if err != nil {
		return nil, err
	}
	if compiler.Compile(modules); compiler.Failed() {
		return nil, refused(compiler.Errors)
	}
	queries := compiler.QueryCompiler()
	query, err := queries.Compile(ast.MustParseBody("decision = data.caracal.base.decision"))
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromASTObject(parsed.data)
	reading, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	entries := maxCachedPatterns
	config := &cache.Config{InterQueryBuiltinValueCache: cache.InterQueryBuiltinValueCacheConfig{MaxNumEntries: &entries}}
	p := &Policy{
		compiler: compiler,
		query:    query,
		queries:  queries,
		store:    store,
		reading:  reading,
		builtins: evaluatorBuiltins(),
		patterns: cache.NewInterQueryValueCache(ctx, config),
		deadline: src.Deadline,
		waiting:  make(chan *evaluation),
		workers:  make(chan struct{}, workersPerCPU*runtime.GOMAXPROCS(0)),
	}
	if p.deadline <= 0 {
		p.deadline = DefaultDeadline
	}
	return p, nil
}

// refused translates the compiler's errors.
func refused(errs ast.Errors) error {
	problems, err := problemsOf(errs)
	if err != nil {
		return err
	}
	return invalid(problems)
}

// newCompiler returns a compiler that checks types against the input's schema and binds calls to their bounds.
func newCompiler(caps *ast.Capabilities) (*ast.Compiler, error) {
	var schema any
	if err := util.UnmarshalJSON([]byte(inputSchema), &schema); err != nil {
		return nil, fmt.Errorf("read input schema: %w", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().
		WithCapabilities(caps).
		WithSchemas(schemas).
		WithStrict(true).
		WithDefaultRegoVersion(ast.RegoV1).
		SetErrorLimit(maxProblems).
		WithStageAfterID(ast.StageCheckRecursion, ast.CompilerStageDefinition{
			Name:       "CheckWeights",
			MetricName: "check_weights",
			Stage:      checkWeights,
		}).
		WithStageAfterID(ast.StageBuildComprehensionIndices, ast.CompilerStageDefinition{
			Name:       "BindBounds",
			MetricName: "bind_bounds",
			Stage:      bindBounds,
		}), nil
}

// modules returns what decides: the workspace's modules, the base policy and what joins them.
func (p parsed) modules() (map[string]*ast.Module, error) {
	modules := maps.Clone(p.policies)
	for path, text := range map[string]string{basePath: basePolicy, workspacePath: p.workspaceModule()} {
		module, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		modules[path] = module
	}
	return modules, nil
}

// workspaceModule writes the module that unites each set over the packages that define it. Naming the packages makes
// a decision cost no more than what they contribute, and leaves none out.
func (p parsed) workspaceModule() string {
	sets := map[string][]string{}
	for _, module := range p.policies {
		for _, rule := range module.Rules {
			if name := termName(rule.Head.Ref()[0]); slices.Contains(contributions(), name) {
				sets[name] = append(sets[name], module.Package.Path.Append(ast.StringTerm(name)).String())
			}
		}
	}
	var text strings.Builder
	text.WriteString("package caracal.workspace\n")
	for _, name := range contributions() {
		slices.Sort(sets[name])
		switch refs := slices.Compact(sets[name]); len(refs) {
		case 0:
			fmt.Fprintf(&text, "%s := set()\n", name)
		case 1:
			fmt.Fprintf(&text, "%s := %s\n", name, refs[0])
		default:
			fmt.Fprintf(&text, "%s := union({%s})\n", name, strings.Join(refs, ", "))
		}
	}
	return text.String()
}

// Evaluate decides. It returns within the policy's deadline, or the context's if that is earlier, and then with
// ErrTimeout; also when OPA cannot stop the evaluation. The verdict holds only if the error is nil: whatever the
// error, the caller denies.
func (p *Policy) Evaluate(ctx context.Context, in Input) (Verdict, error) {
	v, err := p.await(ctx, &evaluation{
		ctx:   ctx,
		input: ast.NewTerm(in.value()),
		facts: in.Facts,
		halt:  topdown.NewCancel(),
		ended: make(chan struct{}),
	})
	if err != nil {
		return Verdict{}, fmt.Errorf("evaluate policy: %w", err)
	}
	return v, nil
}

// evaluation is one evaluation under way. Its verdict and error may be read when it has ended.
type evaluation struct {
	ctx     context.Context
	input   *ast.Term
	facts   Facts
	halt    topdown.Cancel
	ended   chan struct{}
	verdict Verdict
	err     error
}

func (p *Policy) await(ctx context.Context, e *evaluation) (Verdict, error) {
	deadline := time.NewTimer(p.deadline)
	defer deadline.Stop()
	select {
	case p.waiting <- e:
	default:
		select {
		case p.waiting <- e:
		case p.workers <- struct{}{}:
			go p.work(e)
		case <-deadline.C:
			return Verdict{}, fmt.Errorf("%w: earlier evaluations do not end", ErrTimeout)
		case <-ctx.Done():
			return Verdict{}, interruption(ctx)
		}
	}
	select {
	case <-e.ended:
		return e.outcome()
	case <-deadline.C:
	case <-ctx.Done():
		e.halt.Cancel()
		return Verdict{}, interruption(ctx)
	}
	// A process that was not scheduled for a while finds its timers expired before the evaluation has had its turn.
	deadline.Reset(deadlineGrace)
	select {
	case <-e.ended:
		return e.outcome()
	case <-deadline.C:
	case <-ctx.Done():
	}
	e.halt.Cancel()
	return Verdict{}, ErrTimeout
}

func (e *evaluation) outcome() (Verdict, error) {
	if topdown.IsCancel(e.err) {
		return Verdict{}, ErrTimeout
	}
	return e.verdict, e.err
}

// work evaluates until it has been idle for a while. A worker is kept because OPA needs a deep stack, whose growth
// costs a new goroutine more than the evaluation does.
func (p *Policy) work(e *evaluation) {
	defer func() { <-p.workers }()
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		e.verdict, e.err = recovered(func() (Verdict, error) { return p.evaluate(e) })
		close(e.ended)
		idle.Reset(workerIdle)
		select {
		case e = <-p.waiting:
		case <-idle.C:
			return
		}
	}
}

func (p *Policy) evaluate(e *evaluation) (Verdict, error) {
	var decision ast.Value
	// An error of a built-in function would leave its rule undefined, and so a denial unsaid: it ends the evaluation.
	err := topdown.NewQuery(p.query).
		WithQueryCompiler(p.queries).
		WithCompiler(p.compiler).
		WithStore(p.store).
		WithTransaction(p.reading).
		WithBuiltins(p.builtins).
		WithInterQueryBuiltinValueCache(p.patterns).
		WithStrictBuiltinErrors(true).
		WithMetrics(metrics.NoOp()).
		WithCancel(e.halt).
		WithInput(e.input).
		Iter(e.ctx, func(result topdown.QueryResult) error {
			if t, ok := result["decision"]; ok {
				decision = t.Value
			}
			return nil
		})
	if err != nil {
		return Verdict{}, err
	}
	if decision == nil {
		return Verdict{}, malformed("there is none")
	}
	return verdictOf(decision, e.facts)
}

// interruption says why the context ended.
func interruption(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return context.Cause(ctx)
}

// interruptible runs f and returns when it does or when the context ends, whichever is first. What f does after that
// is lost.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		value, err := recovered(f)
		ended <- outcome{value, err}
	}()
	select {
	case o := <-ended:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, interruption(ctx)
	}
}

// recovered runs f and makes a panic its error.
func recovered[T any](f func() (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}
