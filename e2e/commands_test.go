package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"
)

// expect ends the script unless the error is there exactly where it is wanted.
func expect(ts *testscript.TestScript, neg bool, err error) {
	switch {
	case neg && err == nil:
		ts.Fatalf("succeeded although it should not")
	case !neg && err != nil:
		ts.Fatalf("%v", err)
	case err != nil:
		ts.Logf("[%v]", err)
	}
}

func arguments(ts *testscript.TestScript, args []string, least int, usage string) {
	if len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func stackCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "stack start|launch|interrupt|kill [NAME=VALUE]")
	s := stackOf(ts)
	var err error
	switch args[0] {
	case "start":
		account := ""
		if len(args) == 3 && args[1] == "-as" {
			account = args[2]
		} else {
			s.settings = append(s.settings, args[1:]...)
		}
		if err = s.start(account); err == nil {
			loadEnvironment(ts)
		}
	case "launch":
		err = s.launch("", args[1:]...)
	case "interrupt":
		err = s.interrupt()
	case "kill":
		err = s.kill()
	default:
		ts.Fatalf("stack cannot %s", args[0])
	}
	expect(ts, neg, err)
}

var signals = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}

func signalCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "signal KILL|STOP|CONT PROGRAM")
	sig, ok := signals[args[0]]
	if !ok {
		ts.Fatalf("no signal %s", args[0])
	}
	expect(ts, neg, stackOf(ts).signal(sig, args[1]))
}

func goneCommand(ts *testscript.TestScript, neg bool, _ []string) {
	expect(ts, neg, stackOf(ts).gone())
}

func outputCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "output PATTERN")
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	read := func() error {
		text, err := os.ReadFile(stackOf(ts).outputFile())
		if err == nil && !pattern.Match(text) {
			return fmt.Errorf("caracal dev has not printed %s", args[0])
		}
		return err
	}
	if neg {
		expect(ts, neg, read())
		return
	}
	expect(ts, neg, poll("it is printed", read))
}

// request writes the arguments of curl for a call.
type request func(ts *testscript.TestScript, args []string) []string

func curlCall(ts *testscript.TestScript, args []string) []string {
	target := args[1]
	if strings.HasPrefix(target, "/") {
		target = ts.Getenv("CARACAL_UPSTREAM_URL") + target
	}
	return append([]string{
		"-X", args[0], ts.Getenv("CARACAL_GATEWAY_URL") + "/api/proxy", "-H", "Authorization: Bearer " + ts.Getenv("CARACAL_AGENT_JWT"),
		"-H", "X-Caracal-Mandate: " + ts.Getenv("CARACAL_MANDATE_ID"), "-H", "X-Caracal-Target-URL: " + target,
	}, args[2:]...)
}

func curlOwner(ts *testscript.TestScript, args []string) []string {
	return curlAPI(ts.Getenv("CARACAL_URL"), ts.Getenv("CARACAL_API_KEY"), args)
}

func curlAgent(ts *testscript.TestScript, args []string) []string {
	return curlAPI(ts.Getenv("CARACAL_GATEWAY_URL"), ts.Getenv("CARACAL_AGENT_API_KEY"), args)
}

func curlAPI(url, key string, args []string) []string {
	curl := []string{"-X", args[0], url + args[1], "-H", "Authorization: Bearer " + key}
	if len(args) > 2 {
		curl = append(curl, "-H", "Content-Type: application/json", "-d", args[2])
	}
	return curl
}

// perform runs curl; the answer's status is the last thing on its standard error.
func perform(ts *testscript.TestScript, r request, args []string) error {
	arguments(ts, args, 2, "METHOD TARGET [ARG…]")
	common := []string{"-sS", "--max-time", "30", "-w", "%{stderr}%{http_code}"}
	return ts.Exec("curl", append(common, r(ts, args)...)...)
}

func calling(r request) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) { expect(ts, neg, perform(ts, r, args)) }
}

func lastStatus(ts *testscript.TestScript) string {
	text := ts.ReadFile("stderr")
	return text[max(0, len(text)-3):]
}

func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "status NUMBER")
	var err error
	if got := lastStatus(ts); got != args[0] {
		err = fmt.Errorf("the status is %s, not %s", got, args[0])
	}
	expect(ts, neg, err)
}

func untilStatusCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 4, "until-status NUMBER call|owner|agent METHOD TARGET [ARG…]")
	requests := map[string]request{"call": curlCall, "owner": curlOwner, "agent": curlAgent}
	r, ok := requests[args[1]]
	if !ok {
		ts.Fatalf("%s is not call, owner or agent", args[1])
	}
	expect(ts, neg, poll("the status is "+args[0], func() error {
		if err := perform(ts, r, args[2:]); err != nil {
			return err
		}
		if got := lastStatus(ts); got != args[0] {
			return fmt.Errorf("the status is %s: %s", got, ts.ReadFile("stdout"))
		}
		return nil
	}))
}

func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "until PROGRAM [ARG…]")
	expect(ts, neg, poll(args[0]+" succeeds", func() error { return ts.Exec(args[0], args[1:]...) }))
}

// jq runs a filter over what was printed last, which stays for the next command.
func jq(ts *testscript.TestScript, flag, filter string) (string, error) {
	printed := ts.ReadFile("stdout")
	program := exec.Command("jq", flag, filter)
	program.Stdin = strings.NewReader(printed)
	out, err := program.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("jq %s '%s': %w: %s in:\n%s", flag, filter, err, out, printed)
	}
	return strings.TrimSpace(string(out)), nil
}

func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "json FILTER")
	_, err := jq(ts, "-e", args[0])
	expect(ts, neg, err)
}

func keepCommand(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, "keep NAME FILTER")
	found, err := jq(ts, "-er", args[1])
	ts.Check(err)
	ts.Setenv(args[0], found)
}

func portCommand(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, "port NAME")
	port, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

// traps listen for who should not come.
type traps struct {
	listeners []net.Listener
	came      atomic.Int64
}

func (t *traps) close() {
	for _, l := range t.listeners {
		_ = l.Close() // the test has ended
	}
}

func trapCommand(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, "trap NAME")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	t := ts.Value(trapsKey{}).(*traps)
	t.listeners = append(t.listeners, listener)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.came.Add(1)
			_ = connection.Close() // it came, that is enough
		}
	}()
	ts.Setenv(args[0], strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

func untouchedCommand(ts *testscript.TestScript, neg bool, _ []string) {
	var err error
	if n := ts.Value(trapsKey{}).(*traps).came.Load(); n > 0 {
		err = fmt.Errorf("%d connections came where none should", n)
	}
	expect(ts, neg, err)
}

func webSocketCommand(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "websocket PATH TEXT")
	expect(ts, neg, roundTrip(ts, args[0], args[1]))
}

func roundTrip(ts *testscript.TestScript, path, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{}
	header.Set("Authorization", "Bearer "+ts.Getenv("CARACAL_AGENT_JWT"))
	header.Set("X-Caracal-Mandate", ts.Getenv("CARACAL_MANDATE_ID"))
	header.Set("X-Caracal-Target-URL", ts.Getenv("CARACAL_UPSTREAM_URL")+path)
	//nolint:bodyclose // the library closes the body of the handshake
	socket, _, err := websocket.Dial(ctx, ts.Getenv("CARACAL_GATEWAY_URL")+"/api/proxy", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return err
	}
	defer func() { _ = socket.CloseNow() }() // the answer has been read
	if err := socket.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := socket.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("sent %q, got %q", text, got)
	}
	return err
}
