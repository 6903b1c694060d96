// Package extauthz is the decision service: it answers Envoy's question whether one request may go on.
//
// A check is one straight line. The request is read from Envoy's description of it, the caller is identified, the
// target is read and mapped to a resource and an action, the mandate and its chain are judged, the workspace's Rego
// policy is evaluated, and the obligations are worked out: which route, which credential, for how long, and which
// headers are taken away. Every step either adds to what is known or ends the check with a [Denial]. Only a check that
// went the whole way makes a [Permit], and only a Permit becomes an answer that lets a request pass; every error,
// timeout and panic on the way is a denial with a reason.
//
// A check reads one immutable [Snapshot] and nothing else: no database, no network. Whoever keeps the gateway in step
// with the control plane builds a Snapshot from each bundle and hands it to [Service.Enforce].
package extauthz
