// Package archtest holds the tests that keep the structure as ARCHITECTURE.md describes it: who imports whom, which
// package owns which library, and what every file and package must look like. It has no code of its own.
package archtest
