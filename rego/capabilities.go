package rego

import (
	"slices"
	"strings"

	// Zones are embedded, so that time.clock answers alike on a machine without a zone database.
	_ "time/tzdata"

	"github.com/open-policy-agent/opa/v1/ast"
)

// group is a set of built-in functions that are allowed for one reason.
type group struct {
	reason   string
	builtins []string
}

// allowedBuiltins is everything that a policy may call: functions of their operands alone, whose cost is bounded by
// the size of the operands. Whatever is not listed is refused, so a built-in that a later OPA adds is refused too.
//
// Refused on purpose: whatever reaches out or differs from call to call (http.send, net.lookup_ip_addr, opa.runtime,
// rand, uuid, time.now_ns: the time of the decision is input.time); keys and tokens (io.jwt, crypto, providers.aws:
// identity is established before the policy is asked); results far larger than their operands (numbers.range,
// net.cidr_expand, bits.lsh, product, array.flatten, regex.replace, graph, walk); output and reflection (print, trace,
// rego); and what no request of ours holds (graphql, yaml, X.509).
func allowedBuiltins() []group {
	return []group{
		{"the language itself: unification, membership and comparison", []string{
			"eq", "assign", "equal", "neq", "lt", "lte", "gt", "gte", "internal.member_2", "internal.member_3"}},
		{"arithmetic on single numbers", []string{
			"plus", "minus", "mul", "div", "rem", "abs", "ceil", "floor", "round", "to_number", "format_int"}},
		{"sets and aggregates: linear in their operands", []string{
			"and", "or", "union", "intersection", "count", "sum", "max", "min", "sort"}},
		{"arrays and objects: linear in their operands", []string{
			"array.concat", "array.reverse", "array.slice", "object.filter", "object.get", "object.keys",
			"object.remove", "object.subset", "object.union"}},
		{"strings, for matching what a request names and for writing messages", []string{
			"concat", "contains", "endswith", "indexof", "lower", "replace", "split", "sprintf", "startswith",
			"strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "substring", "trim", "trim_left",
			"trim_prefix", "trim_right", "trim_space", "trim_suffix", "upper", "internal.template_string"}},
		{"patterns: regular expressions run in linear time; both kinds are bounded in size", []string{
			"glob.match", "regex.match"}},
		{"types, to tell apart the values of the policy's own documents", []string{
			"is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name"}},
		{"time as arithmetic, for office hours and remaining validity; never the clock", []string{
			"time.clock", "time.date", "time.weekday", "time.parse_rfc3339_ns", "time.parse_duration_ns"}},
		{"addresses as arithmetic; never the network", []string{
			"net.cidr_contains", "net.cidr_intersects", "net.cidr_is_valid"}},
		{"decoding what headers carry; the result is no larger than the operand", []string{
			"base64.decode", "base64url.decode", "urlquery.decode"}},
		{"the versions of the clients that agents name", []string{
			"semver.compare", "semver.is_valid"}},
	}
}

// testBuiltin is what OPA's tester adds to test rules that yield a result for each case.
const testBuiltin = "internal.test_case"

// capabilities is what a policy, or a policy with its tests, is compiled against.
func capabilities(withTests bool) *ast.Capabilities {
	var names []string
	for _, g := range allowedBuiltins() {
		names = append(names, g.builtins...)
	}
	if withTests {
		names = append(names, testBuiltin)
	}
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool { return !slices.Contains(names, b.Name) })
	c.Features = slices.DeleteFunc(c.Features, func(f string) bool { return strings.HasPrefix(f, "rego_v2") })
	c.FutureKeywords = nil  // none of them is part of Rego v1
	c.AllowNet = []string{} // schemas are never fetched
	c.WasmABIVersions = nil // policies run here, not as Wasm
	return c
}
