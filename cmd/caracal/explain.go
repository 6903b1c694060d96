package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// usageError is a command line or an environment that cannot be meant.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// callError is what came of a command that calls a control plane; servers have networks of their own to fail.
type callError struct{ error }

func (e *callError) Unwrap() error { return e.error }

// explain tells people what went wrong, about which field, and what to try next.
func explain(w io.Writer, err error) {
	var refusal *client.Error
	refused := errors.As(err, &refusal)
	lines := []string{err.Error()}
	if !refused { // somebody else's words may not look like lines of ours
		lines = strings.Split(strings.ReplaceAll(err.Error(), "\t", "  "), "\n")
	}
	fmt.Fprint(w, "caracal: ")
	for _, line := range lines {
		fmt.Fprintln(w, printable(line))
	}
	if refused {
		for _, line := range []struct{ name, value string }{{"code", refusal.Code}, {"field", refusal.Field}, {"request", refusal.RequestID}} {
			if line.value != "" {
				fmt.Fprintf(w, "  %-8s %s\n", line.name, printable(line.value))
			}
		}
		for _, p := range refusal.Problems {
			place := printable(p.File)
			if p.Row > 0 {
				place = fmt.Sprintf("%s:%d:%d", place, p.Row, p.Column)
			}
			fmt.Fprintf(w, "  %s: %s: %s\n", place, printable(p.Code), printable(p.Message))
		}
	}
	if next := nextThing(err); next != "" {
		fmt.Fprintf(w, "  %-8s %s\n", "next", next)
	}
}

// nextThing is what mends an error most often; empty where its message says it.
func nextThing(err error) string {
	var call *callError
	if !errors.As(err, &call) {
		return ""
	}
	var refusal *client.Error
	var unknownCA x509.UnknownAuthorityError
	var network *url.Error // of net/http; a file that is not there is a net.Error as well
	switch {
	case errors.As(err, &refusal):
		return afterRefusal(refusal)
	case errors.As(err, &unknownCA):
		return "set CARACAL_CA_FILE to the certificates that the control plane's chains to"
	case errors.As(err, &network):
		return "see that the control plane runs, and that CARACAL_URL is its address"
	}
	return ""
}

func afterRefusal(e *client.Error) string {
	switch authority.Reason(e.Reason) {
	case authority.ReasonNoPolicyCovers:
		return "see `caracal policy list`, and add what is missing with `caracal policy create`"
	case authority.ReasonIssuerNotConsenting:
		return "let the issuer ask for the mandate itself, or join the policy"
	default: // the others say in their message what is to be done
	}
	switch authority.Code(e.Code) {
	case authority.CodeUnauthenticated:
		return "see that CARACAL_API_KEY holds a key that is not revoked or expired"
	case authority.CodeForbidden:
		return "use a key of an owner; an agent's key is for its own mandates only"
	case authority.CodeNotFound:
		return "see that the id is right, and that CARACAL_WORKSPACE is the workspace of the key"
	case authority.CodeLimited:
		return "wait a minute"
	case authority.CodeUnavailable:
		return "try again; GET /health of the control plane tells how its database is"
	default: // likewise
	}
	if e.Code == "internal_error" {
		return "look for the request in the control plane's log"
	}
	return ""
}
