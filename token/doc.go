// Package token signs and verifies what crosses a boundary: access tokens, mandates, the manifests of bundles and the
// key sets that all of these are verified against; and it makes and reads API keys.
//
// Everything signed is a compact JWS by Ed25519. Each purpose has keys, a `typ` and an audience of its own, so that
// nothing signed for one purpose passes for another. A workspace's root key signs its key sets and nothing else; its
// fingerprint, carried in a gateway's API key, is the gateway's root of trust. The package is the only user of
// go-jose.
package token
