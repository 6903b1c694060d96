package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/gateway"
)

func TestWhatTheExitStatusSays(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	agent := owner.must(t, "principal", "create", "agent")
	owner.must(t, "policy", "create", "--principal", "agent", "--resource", "api:x", "--action", "read")
	mandate := owner.must(t, "mandate", "issue", "--issuer", owner["owner"], "--subject", "agent", "--resource", "api:x", "--action", "read")["mandate_id"].(string)
	asAgent := environment{"CARACAL_URL": owner["CARACAL_URL"], "CARACAL_API_KEY": agent["api_key"].(string)}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := owner.with(environment{"CARACAL_URL": "http://" + nobody.Addr().String()})
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for sentence, c := range map[string]struct {
		shell environment
		args  string
		want  exitStatus
	}{
		"done":                        {owner, "mandate get " + mandate, exitDone},
		"allowed":                     {asAgent, "mandate validate " + mandate + " --action read --resource api:x", exitDone},
		"denied":                      {asAgent, "mandate validate " + mandate + " --action write --resource api:x", exitRefused},
		"refused by a rule":           {owner, "mandate issue --issuer " + owner["owner"] + " --subject agent --resource api:y --action read", exitRefused},
		"without the right":           {asAgent, "principal list", exitRefused},
		"a field that is wrong":       {owner, "policy create --principal agent --resource api:** --action read", exitRefused},
		"an unknown command":          {owner, "mandate isue", exitUsage},
		"an unknown flag":             {owner, "mandate list --isuer x", exitUsage},
		"a flag that is missing":      {owner, "mandate issue", exitUsage},
		"an argument that is missing": {owner, "mandate get", exitUsage},
		"nobody to ask":               {owner, "destination delete openai", exitUsage},
		"nobody answers":              {away, "mandate list", exitUnreachable},
		"without a key":               {environment{"CARACAL_URL": owner["CARACAL_URL"]}, "mandate list", exitUnauthenticated},
		"with a wrong key":            {owner.with(environment{"CARACAL_API_KEY": "wrong"}), "mandate list", exitUnauthenticated},
		"no such id":                  {owner, "mandate get mdt_aaaaaaaaaaaaaaaaaaaaaaaaaa", exitNotFound},
		"no such name":                {owner, "principal get nobody", exitNotFound},
		"a file that is not there":    {owner, "rego push /nowhere.rego", exitFailed},
	} {
		t.Run(sentence, func(t *testing.T) {
			stdout, stderr, err := c.shell.caracal(t, "", strings.Fields(c.args)...)
			if got := statusOf(err); got != c.want {
				t.Errorf("caracal %s ended with %d, want %d: %s%s", c.args, got, c.want, stdout, stderr)
			}
		})
	}
	if got := statusOf(fmt.Errorf("%w: it is revoked", gateway.ErrRefused)); got != exitRefused {
		t.Errorf("a gateway that is refused ends with %d, want %d", got, exitRefused)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(stopped, []string{"mandate", "list"}, owner.get, strings.NewReader(""), os.Stderr, os.Stderr); statusOf(err) != exitInterrupted {
		t.Errorf("an interrupted command ended with %v", err)
	}
}
