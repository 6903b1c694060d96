package launch_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/caracal-gateway/caracal/launch"
)

// TestMain lets the test binary be what runs a script and gets the signals.
func TestMain(m *testing.M) {
	if script := os.Getenv("LAUNCH_TEST_SCRIPT"); script != "" {
		status, err := program(script, os.Stdout).Run(context.Background())
		if err != nil {
			status = 250
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func program(script string, out io.Writer) launch.Program {
	return launch.Program{Path: "/bin/sh", Arguments: []string{"-c", script}, Environment: []string{"PATH=/usr/bin:/bin"}, Stdout: out, Stderr: out}
}

func TestTheStatusIsTheProgramsOwn(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -TERM $$": 143, "kill -KILL $$": 137, "kill -INT $$": 130,
	} {
		if got, err := program(script, io.Discard).Run(t.Context()); got != want || err != nil {
			t.Errorf("%s: %d %v, want %d", script, got, err, want)
		}
	}
	missing := program("", io.Discard)
	missing.Path = t.TempDir() + "/nothing"
	if _, err := missing.Run(t.Context()); !errors.Is(err, launch.ErrNotStarted) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestACancelledContextLeavesTheEndToTheProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := program("exit 3", io.Discard).Run(ctx); got != 3 || err != nil {
		t.Errorf("%d %v, want 3", got, err)
	}
}

// A signal to whoever runs the program is the program's to act on, as often as it comes.
func TestSignalsAreHandedOn(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner := exec.CommandContext(t.Context(), os.Args[0])
			runner.Env = append(os.Environ(), "LAUNCH_TEST_SCRIPT=n=0; trap 'n=$((n+1)); echo got $n; [ $n = 2 ] && exit 9' "+name+"; echo ready; while :; do sleep 0.05; done")
			runner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // no terminal's foreground
			out, err := runner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := runner.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for _, want := range []string{"ready", "got 1", "got 2"} {
				if !lines.Scan() || strings.TrimSpace(lines.Text()) != want {
					t.Fatalf("it said %q, want %q", lines.Text(), want)
				}
				if want != "got 2" {
					if err := runner.Process.Signal(signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := runner.Wait(); runner.ProcessState.ExitCode() != 9 {
				t.Errorf("it ended with %v, want 9", err)
			}
		})
	}
}
