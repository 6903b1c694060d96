// Package e2e tells the promises of Caracal as stories that run on the real thing: the built program, PostgreSQL, Envoy
// and clients that others wrote. The stories are scripts in testdata; script_test.go says what their commands do. It has
// no code of its own.
package e2e
