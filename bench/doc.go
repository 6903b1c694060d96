// Bench measures what decisions and revocations cost, as ratios against baselines of the same run: absolute times depend
// on the machine and its neighbours.
//
// `go run ./bench decisions` compares three services behind the same load: one that answers yes to everything, ours, and
// OPA with its plugin for Envoy, which judges the same requests by the same rules in Rego. docs/performance.md says how to
// read what it prints.
package main
