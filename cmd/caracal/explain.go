package main

import (
	"context"
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
type callError struct {
	error
	target target
}

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
		return afterRefusal(refusal, call.target)
	case errors.Is(err, context.Canceled):
		return ""
	case errors.As(err, &unknownCA):
		return "set CARACAL_CA_FILE to the certificates that the control plane's chains to"
	case errors.As(err, &network):
		return "see that the control plane runs at " + printable(call.target.url) + ", which " + call.target.origin("url") + " says: `caracal doctor` looks at each step"
	}
	return ""
}

// origin is who said what a setting is.
func (t target) origin(flag string) string {
	if from := t.from[flag]; from != "" {
		return from
	}
	return "the context"
}

func afterRefusal(e *client.Error, t target) string {
	switch authority.Reason(e.Reason) {
	case authority.ReasonNoPolicyCovers:
		return "see `caracal policy list`, and add what is missing with `caracal policy create`"
	case authority.ReasonIssuerNotConsenting:
		return "let the issuer ask for the mandate itself, or join the policy: `caracal policy join`"
	default: // the others say in their message what is to be done
	}
	switch authority.Code(e.Code) {
	case authority.CodeUnauthenticated:
		return "see that the key of " + t.origin("api-key-file") + " is right, and is not revoked or expired; `caracal login` keeps another"
	case authority.CodeForbidden:
		return "`caracal status` shows who you are; docs/reference/roles.md says who may do this"
	case authority.CodeNotFound:
		return "see that the id is right, and that the workspace is yours: `caracal workspace list`"
	case authority.CodeChangesAuthority:
		return "look at what is touched, and say --yes if it is meant"
	case authority.CodePrecondition:
		return "somebody else has changed it in the meantime: look at it, and try again"
	case authority.CodeLimited:
		return "wait a minute"
	case authority.CodeUnavailable:
		return "try again; `caracal doctor` tells how the control plane is"
	default: // likewise
	}
	switch e.Code {
	case "internal_error":
		return "look for the request in the control plane's log"
	case client.CodeUnexpected:
		return "see that " + printable(t.url) + " is a control plane, and no proxy is in the way: `caracal doctor`"
	}
	return ""
}
