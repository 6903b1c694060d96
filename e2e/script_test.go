package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caracal-gateway/caracal/internal/nameserver"
)

// What the scripts say beside testscript's own commands. The directory that a script starts in is a project: demo/ and
// bin/caracal are there, and with a running stack .caracal/dev.env, whose variables are set.
//
//	stack start [-as ACCOUNT]   caracal dev, until everything works; ! where it has to end by itself
//	stack launch [NAME=VALUE…]  caracal dev, without waiting
//	stack interrupt             Ctrl-C; nothing may be left when it has ended
//	stack kill                  kill -9 of caracal dev alone
//	signal NAME PROGRAM         a signal to dev, controlplane, gateway, envoy or postgres, until it has taken effect
//	gone                        wait until all is gone that was killed, with everything below it
//	output PATTERN              what caracal dev has printed matches; waits for it
//	call METHOD TARGET [ARG…]   the agent's call to a path of the echo upstream, or a URL; ARGs are curl's
//	owner METHOD PATH [JSON]    the owner's call to the control plane
//	agent METHOD PATH [JSON]    the agent's call to the gateway's API, under its key
//	status NUMBER               of the last call
//	json FILTER                 a filter of jq that holds for what the last call or program printed
//	keep NAME FILTER            set a variable to what the filter finds there
//	until COMMAND [ARG…]        repeat a program until it succeeds
//	until-status NUMBER COMMAND [ARG…]   repeat call, owner or agent until it has the status
//	port NAME                   set a variable to a port that is free
//	trap NAME                   listen on a port, which the variable names, for who should not come
//	untouched                   nobody came to a trap
//	websocket PATH TEXT         send a text through a WebSocket to the upstream and get it back
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"stack": stackCommand, "signal": signalCommand, "gone": goneCommand, "output": outputCommand,
	"call": calling(curlCall), "owner": calling(curlOwner), "agent": calling(curlAgent), "status": statusCommand,
	"json": jsonCommand, "keep": keepCommand, "until": untilCommand, "until-status": untilStatusCommand,
	"port": portCommand, "trap": trapCommand, "untouched": untouchedCommand, "websocket": webSocketCommand,
}

// keys of what a script has besides variables.
type (
	stackKey struct{}
	trapsKey struct{}
)

func TestStoriesThatShareAStack(t *testing.T) {
	project := filepath.Join(here.root, "shared")
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	shared, err := newStack(project)
	if err != nil {
		t.Fatal(err)
	}
	shared.settings = []string{namesOf(t)}
	t.Cleanup(func() { // runs when the scripts, which run side by side, have ended
		if t.Failed() {
			t.Log(shared.report())
		}
		shared.end()
	})
	if err := shared.start(""); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/shared", WorkdirRoot: mkdir(t, "scripts-shared"), Cmds: commands, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			prepareScript(env, shared)
			if err := os.CopyFS(env.WorkDir+"/demo", os.DirFS("../demo")); err != nil {
				return err
			}
			variables, err := readEnvironment(shared)
			if err != nil {
				return err
			}
			env.Vars = append(env.Vars, variables...)
			return errors.Join(os.Symlink(project+"/.caracal", env.WorkDir+"/.caracal"), os.Symlink(here.root+"/bin", env.WorkDir+"/bin"))
		},
	})
}

func TestStoriesWithAStackOfTheirOwn(t *testing.T) {
	names := namesOf(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/alone", WorkdirRoot: mkdir(t, "scripts-alone"), Cmds: commands, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			s, err := newStack(env.WorkDir)
			if err != nil {
				return err
			}
			s.settings = []string{names}
			prepareScript(env, s)
			env.Defer(func() {
				if test, ok := env.T().(interface{ Failed() bool }); ok && test.Failed() {
					env.T().Log(s.report())
				}
				s.end()
			})
			return nil
		},
	})
}

// namesOf starts a server of names that lead to where no gateway may go, and returns the setting that makes gateways ask it.
// It knows no other name.
func namesOf(t *testing.T) string {
	t.Helper()
	return "CARACAL_DNS_RESOLVERS=" + nameserver.Start(t, map[string][]string{
		"loopback.example": {"127.0.0.1"}, "network.example": {"10.0.0.1"}, "metadata.example": {"169.254.169.254"},
	}).String()
}

func prepareScript(env *testscript.Env, s *stack) {
	env.Vars = append(env.Vars, s.environment()...)
	env.Values[stackKey{}] = s
	traps := &traps{}
	env.Values[trapsKey{}] = traps
	env.Defer(traps.close)
}

func mkdir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(here.root, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// exported is a line of the environment file.
var exported = regexp.MustCompile(`(?m)^export ([A-Z_]+)='([^']*)'$`)

// readEnvironment gives the variables of dev.env as a shell would have them after reading it.
func readEnvironment(s *stack) ([]string, error) {
	text, err := os.ReadFile(s.environmentFile())
	if err != nil {
		return nil, err
	}
	var variables []string
	for _, line := range exported.FindAllStringSubmatch(string(text), -1) {
		variables = append(variables, line[1]+"="+line[2])
	}
	return variables, nil
}

func stackOf(ts *testscript.TestScript) *stack { return ts.Value(stackKey{}).(*stack) }

// loadEnvironment is `. .caracal/dev.env`.
func loadEnvironment(ts *testscript.TestScript) {
	variables, err := readEnvironment(stackOf(ts))
	ts.Check(err)
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		ts.Setenv(name, value)
	}
}
