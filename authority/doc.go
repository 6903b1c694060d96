// Package authority is the domain: who may do what until when, on whose word, and whether one request is covered by it.
//
// Everything here is a value or a pure function over values. The package reads no clock, no network, no file and no
// database, and imports the standard library only, so that the rules can be read, tested and proven on their own. The
// control plane applies them to change authority, a gateway applies them to decide on a request; both get the same
// answer from the same values.
package authority
