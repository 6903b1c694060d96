package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a person's: what is written to keyboard is typed, and screen is what is seen.
type terminal struct {
	*os.File // the program's side

	mu     sync.Mutex // guards screen
	screen bytes.Buffer
	keys   *os.File
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := keys.SyscallConn() // and not Fd, after which nothing ends a read
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var unlocked, named error
	err = raw.Control(func(fd uintptr) {
		unlocked = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		number, named = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	})
	if err := errors.Join(err, unlocked, named); err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{File: side, keys: keys}
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := keys.Read(buffer)
			term.mu.Lock()
			term.screen.Write(buffer[:n])
			term.mu.Unlock()
			if err != nil {
				return // the terminal is closed
			}
		}
	})
	t.Cleanup(func() {
		if err := keys.Close(); err != nil { // which ends a program that waits for them
			t.Error(err)
		}
		reading.Wait()
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	return term
}

func (term *terminal) seen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.screen.String()
}

// await waits until something is on the screen.
func (term *terminal) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(term.seen(), text); {
		if time.Now().After(deadline) {
			t.Fatalf("the screen does not show %q but %q", text, term.seen())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// echoes reports whether what is typed is shown.
func (term *terminal) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(term.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func (term *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyThatIsTypedIsNotShown(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	term, me := openTerminal(t), home(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"login", "--url", owner["CARACAL_URL"]}, me.get, term.File, term.File, term.File)
	}()
	term.await(t, "API key for "+owner["CARACAL_URL"]+": ")
	for deadline := time.Now().Add(20 * time.Second); term.echoes(t); {
		if time.Now().After(deadline) {
			t.Fatal("the terminal goes on showing what is typed")
		}
		<-time.After(time.Millisecond)
	}
	term.press(t, owner["CARACAL_API_KEY"]+"\n")
	if err := <-ended; err != nil {
		t.Fatalf("signing in ended with %v: %s", err, term.seen())
	}
	term.await(t, "it is in use")
	if strings.Contains(term.seen(), owner["CARACAL_API_KEY"]) || !term.echoes(t) {
		t.Errorf("the screen shows %q; what is typed is shown from here on: %v", term.seen(), term.echoes(t))
	}
}

func TestWhatIsLostIsAskedAbout(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	for answer, want := range map[string]exitStatus{"n\n": exitFailed, "\n": exitFailed, "y\n": exitDone} {
		owner.must(t, "destination", "create", "docs", "--host", "docs.example.com")
		term := openTerminal(t)
		ended := make(chan error, 1)
		go func() {
			ended <- run(t.Context(), []string{"destination", "delete", "docs"}, owner.get, term.File, term.File, term.File)
		}()
		term.await(t, "destination delete docs. Go on? [y/N] ")
		owner.must(t, "destination", "get", "docs") // until somebody says yes
		term.press(t, answer)
		if err := <-ended; statusOf(err) != want {
			t.Errorf("the answer %q ended with %v", answer, err)
		}
		if want == exitDone {
			owner.fails(t, exitNotFound, "there is no destination", "destination", "get", "docs")
		} else {
			owner.must(t, "destination", "delete", "docs", "--yes")
		}
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	for sentence, c := range map[string]struct {
		shell environment
		args  []string
		want  bool
	}{
		"on a terminal":               {owner, nil, true},
		"for somebody who wants none": {owner.with(environment{"NO_COLOR": "1"}), nil, false}, //nolint:misspell // it is called so
		"on a terminal without":       {owner.with(environment{"TERM": "dumb"}), nil, false},
		"in JSON":                     {owner, []string{"-o", "json"}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			term := openTerminal(t)
			if err := run(t.Context(), append([]string{"member", "list"}, c.args...), c.shell.get, term.File, term.File, term.File); err != nil {
				t.Fatal(err)
			}
			term.await(t, "prn_")
			if got := strings.Contains(term.seen(), "\x1b["); got != c.want {
				t.Errorf("it printed %q", term.seen())
			}
		})
	}
	if stdout := owner.ok(t, "", "member", "list"); strings.Contains(stdout, "\x1b[") {
		t.Errorf("to a pipe it printed %q", stdout)
	}
}
