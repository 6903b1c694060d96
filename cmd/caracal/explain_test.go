package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

func TestAnErrorSaysWhatToTryNextWhereThatIsKnown(t *testing.T) {
	network := &url.Error{Op: "Get", URL: "https://control.example", Err: &net.DNSError{Err: "no such host", Name: "control.example"}}
	for name, c := range map[string]struct {
		err  error
		next string // empty where nothing may be advised
	}{
		"a control plane that cannot be reached":  {&callError{network, target{url: "https://control.example", from: map[string]string{"url": "CARACAL_URL"}}}, "see that the control plane runs at https://control.example, which CARACAL_URL says: `caracal doctor` looks at each step"},
		"a server that cannot listen":             {&net.OpError{Op: "listen", Net: "unix", Err: net.ErrClosed}, ""},
		"a file that is not there":                {&callError{&fs.PathError{Op: "open", Path: "policy.rego", Err: syscall.ENOENT}, target{}}, ""},
		"a refusal that `caracal dev` met":        {&client.Error{Code: string(authority.CodeUnauthenticated)}, ""},
		"a refusal for want of a policy":          {&callError{&client.Error{Reason: string(authority.ReasonNoPolicyCovers)}, target{}}, "see `caracal policy list`, and add what is missing with `caracal policy create`"},
		"a key that the control plane knows not":  {&callError{&client.Error{Code: string(authority.CodeUnauthenticated)}, target{from: map[string]string{"api-key-file": "CARACAL_API_KEY"}}}, "see that the key of CARACAL_API_KEY is right, and is not revoked or expired; `caracal login` keeps another"},
		"a command line that says its error well": {&usageError{"set CARACAL_URL"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			explain(&out, c.err)
			_, next, _ := strings.Cut(out.String(), "next ")
			if got := strings.TrimSpace(next); got != c.next {
				t.Errorf("advised %s, want %s", strconv.Quote(got), strconv.Quote(c.next))
			}
		})
	}
}

func TestOnlyOurOwnErrorsHaveLines(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"two ports that are taken": {
			errors.Join(errors.New("port 1 is taken"), errors.New("port 2\tis taken")),
			"caracal: port 1 is taken\nport 2  is taken\n",
		},
		"an answer that would look like our advice": {
			&client.Error{Code: "invalid", Detail: "no\n  next     give up\x1b[2J"},
			"caracal: invalid: no\\u000a  next     give up\\u001b[2J\n  code     invalid\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			explain(&out, c.err)
			if got := out.String(); got != c.want {
				t.Errorf("printed\n%q, want\n%q", got, c.want)
			}
		})
	}
}
