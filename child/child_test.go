package child_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/child"
)

// TestMain lets the test binary be the parent that is killed.
func TestMain(m *testing.M) {
	if pidFile := os.Getenv("CHILD_TEST_PARENT"); pidFile != "" {
		if err := keep("echo $$ > "+pidFile+"; exec sleep 600", func(string) {}).Run(context.Background()); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func keep(script string, line func(string)) child.Program {
	return child.Program{
		Name: "script", Path: "/bin/sh", Arguments: []string{"-c", script}, Line: line,
		Grace: time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

func TestAProgramThatDiesIsStartedAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string, 10)
	ended := make(chan error, 1)
	go func() { ended <- keep("echo here; exit 3", func(l string) { lines <- l }).Run(ctx) }()
	for range 3 {
		if got := <-lines; got != "here" {
			t.Fatalf("the program said %q", got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestAProgramThatIgnoresBeingToldToStopIsKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- keep("trap '' TERM; echo ready; while :; do sleep 600; done", func(l string) { lines <- l }).Run(ctx)
	}()
	<-lines
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestAProgramThatIsNotThereIsAnErrorAndNotARestart(t *testing.T) {
	program := keep("", nil)
	program.Path = filepath.Join(t.TempDir(), "nothing")
	if err := program.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "start script") {
		t.Errorf("Run returned %v", err)
	}
}

func TestAProgramThatEndsForGoodIsNotStartedAgain(t *testing.T) {
	lines := make(chan string, 10)
	program := keep("echo here; exit 3", func(l string) { lines <- l })
	program.Final = 3
	if err := program.Run(t.Context()); !errors.Is(err, child.ErrFinal) || len(lines) != 1 {
		t.Errorf("Run returned %v after %d starts", err, len(lines))
	}
}

func TestAProgramDoesNotOutliveAParentThatIsKilled(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CHILD_TEST_PARENT="+pidFile)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for pid == 0 {
		text, err := os.ReadFile(pidFile)
		if err == nil {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		wait(t)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for runs(pid) {
		wait(t)
	}
}

// runs reports whether a process is there and no zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && syscall.Kill(pid, 0) == nil && !strings.Contains(string(stat), ") Z ")
}

func wait(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test is over")
	case <-time.After(10 * time.Millisecond):
	}
}
