// Package gateway is one gateway process: an Envoy and the decision service that it asks, kept in step with one
// workspace of a control plane.
//
// It enrols with the control plane, receives sealed bundles, opens and checks each of them, keeps the last good one on
// disk, and swaps it in: the decision service's snapshot first, then Envoy's routes and clusters. It serves Envoy its
// configuration, answers health, readiness, sync and the agents' API behind Envoy, and ships the record of every
// decision. Whatever fails on the way leaves the last good state in force; without any, everything is denied.
//
// It decides only under a lease, which it renews on the stream to its control plane, keeps for the next process on this
// host, and gives up when it stops in order. How it stops is the order of what [Run] starts, read from the end of a
// request to the end of the lease.
package gateway
