// Package bundle is the contract between the planes: what a gateway is told of its workspace, how that is sealed and
// opened, and how a gateway process proves who it is.
//
// A bundle is a snapshot of one workspace at one revision: a signed manifest, the key set that it verifies against, and
// a compressed payload whose digest the manifest names. A gateway opens it on the word of its workspace's root key
// alone, so that it does not matter which connection or disk the bundle came from.
package bundle
