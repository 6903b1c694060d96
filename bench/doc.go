// Bench measures what decisions and revocations cost, as ratios against baselines of the same run: absolute times depend
// on the machine and its neighbours.
//
// `bench decisions` compares three services behind the same load: one that answers yes to everything, ours, and OPA with
// its plugin for Envoy, which judges the same requests by the same rules in Rego. `bench envoy` does so with whole requests
// through the real Envoy, and with a whole gateway. `bench proxy` compares what clients of the proxy port do with the same
// through an Envoy that asks nobody. `bench revoke` times revocations with up to a thousand gateways, and
// `bench herd` a thousand that come at once. docs/performance.md says how to read what they print.
package main
