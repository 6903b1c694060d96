package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

const (
	thisBoot = "0fd1c5fc-5ad3-4b6a-8d9a-60df7f4d1f3a time:[4026531834]"
	gatewayA = "gw_a"
)

// tenant is a gateway process with a directory of its own, on a host whose clocks the test turns.
type tenant struct {
	*tenure
	clocks  *clocks
	private ed25519.PrivateKey
	dir     string
	held    lease.Lease // that decisions are made under
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	first := &tenant{clocks: newClocks(), private: private, dir: t.TempDir()}
	return first.restarted()
}

// restarted is the next process in the directory.
func (p *tenant) restarted() *tenant {
	next := &tenant{clocks: p.clocks, private: p.private, dir: p.dir}
	next.tenure = &tenure{
		hold: func(l lease.Lease) { next.held = l }, file: leaseFile{filepath.Join(p.dir, "lease"), p.private},
		boot: thisBoot, read: p.clocks.read, log: slog.New(slog.DiscardHandler),
	}
	return next
}

// grant gives the process a lease of a minute at revision 7.
func (p *tenant) grant(number uint64) {
	p.take(lease.From(p.clocks.read(), number, time.Minute), terms{gatewayA, "one", 7})
}

func TestARestartGoesOnWithinTheKeptLeaseOnly(t *testing.T) {
	for sentence, c := range map[string]struct {
		meanwhile func(*tenant)
		timeline  string
		revision  uint64
		cause     string // why not; empty where it does
	}{
		"at once":                            {timeline: "one", revision: 7},
		"with a newer bundle":                {timeline: "one", revision: 8},
		"just before its end":                {meanwhile: func(p *tenant) { p.clocks.pass(time.Minute - 1) }, timeline: "one", revision: 7},
		"not at its end":                     {func(p *tenant) { p.clocks.pass(time.Minute) }, "one", 7, "has ended"},
		"not when the wall clock is past it": {func(p *tenant) { p.clocks.step(time.Hour) }, "one", 7, "has ended"},
		"not for a wall clock that was set back": {func(p *tenant) {
			p.clocks.pass(time.Minute)
			p.clocks.step(-time.Hour)
		}, "one", 7, "has ended"},
		"not after the host was started anew": {func(p *tenant) { p.boot = "another" }, "one", 7, "started anew"},
		"not where the host tells no boot id": {func(p *tenant) { p.boot = "" }, "one", 7, "started anew"},
		"not on a boot clock that went back":  {func(p *tenant) { p.clocks.pass(-time.Second) }, "one", 7, "does not fit"},
		"not without a bundle":                {nil, "", 0, "no bundle"},
		"not for longer than any lease lasts": {func(p *tenant) {
			p.take(lease.From(p.clocks.read(), 5, lease.MaxTerm+time.Second), terms{gatewayA, "one", 7})
			*p = *p.restarted()
		}, "one", 7, "does not fit"},
		"not with a bundle of another timeline": {nil, "two", 7, "no bundle"},
		"not with an older bundle":              {nil, "one", 6, "revision 6"},
		"not of a file that another gateway signed": {func(p *tenant) {
			_, other, _ := ed25519.GenerateKey(nil)
			p.file.private = other
		}, "one", 7, "not signed"},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newTenant(t)
			p.grant(4)
			before := p.held
			next := p.restarted()
			if c.meanwhile != nil {
				c.meanwhile(next)
			}
			err := next.resume(c.timeline, c.revision)
			if c.cause == "" {
				if err != nil || next.held != before || next.lowest() != 4 {
					t.Fatalf("it goes on under %+v (%v), want %+v", next.held, err, before)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.cause) || next.held.Number != 0 || next.lowest() != 0 {
				t.Fatalf("it goes on under %+v, error %v, want %q", next.held, err, c.cause)
			}
			if _, err := next.file.read(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what is not used is kept for the next: %v", err)
			}
		})
	}
}

func TestTheLeaseThatWasGrantedLastIsHeldAlsoWhereItEndsEarlier(t *testing.T) {
	p := newTenant(t)
	p.take(lease.From(p.clocks.read(), 1, time.Hour), terms{gatewayA, "one", 7})
	p.take(lease.From(p.clocks.read(), 2, 5*time.Second), terms{gatewayA, "one", 7})
	p.clocks.pass(5 * time.Second)
	if p.held.Number != 2 || p.held.Holds(p.clocks.read()) {
		t.Errorf("%+v is held", p.held)
	}
}

func TestALeaseThatIsNotNewerChangesNothing(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	before := p.held
	p.clocks.pass(time.Second)
	for _, number := range []uint64{1, 3, 4} {
		p.grant(number)
	}
	if p.held != before {
		t.Errorf("%+v is held, want %+v", p.held, before)
	}
}

func TestTheEndOfAProcessLeavesNoLeaseBehind(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	if number := p.leave(); number != 4 || p.held.Number != 0 {
		t.Errorf("%d is surrendered, %+v held still", number, p.held)
	}
	p.grant(5) // was on its way
	if number := p.leave(); number != 5 || p.held.Number != 0 {
		t.Errorf("after another grant %d is surrendered, %+v held", number, p.held)
	}
	next := p.restarted()
	if err := next.resume("one", 7); err != nil || next.held.Number != 0 {
		t.Errorf("the next process goes on under %+v (%v)", next.held, err)
	}
}

func TestALeaseThatCannotBeKeptIsHeldAndTheNextProcessHasNone(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	if err := os.Mkdir(filepath.Join(p.dir, "lease.next"), 0o700); err != nil { // in the place of what is written first
		t.Fatal(err)
	}
	p.grant(5)
	if p.held.Number != 5 || p.lowest() != 5 {
		t.Errorf("%+v is held", p.held)
	}
	next := p.restarted()
	if err := next.resume("one", 7); err != nil || next.held.Number != 0 {
		t.Errorf("the next process goes on under %+v (%v)", next.held, err)
	}
}

func TestALeaseThatStaysOnTheDiskIsNotSurrendered(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	path := filepath.Join(p.dir, "lease")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.Mkdir(filepath.Join(path, "kept"), 0o700)); err != nil { // what cannot be removed
		t.Fatal(err)
	}
	if number := p.leave(); number != 0 || p.held.Number != 0 {
		t.Errorf("%d is surrendered, %+v held", number, p.held)
	}
}

func TestALeaseThatIsNotKeptAnewIsToldOfStill(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	path := filepath.Join(p.dir, "lease")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.Mkdir(filepath.Join(path, "kept"), 0o700)); err != nil {
		t.Fatal(err)
	}
	p.grant(5)
	if got := p.lowest(); p.held.Number != 5 || got != 4 {
		t.Errorf("%d is held, and the lowest that may be decided by is told to be %d, want 4", p.held.Number, got)
	}
}

func TestAGatewayThatTheControlPlaneKnowsNoMoreHasNoLease(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	p.belongs("")
	if _, err := p.file.read(); p.held.Number != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it holds %+v, and keeps one: %v", p.held, err)
	}
}

func TestAGatewayUnderAnotherIDHasNoLease(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	p.belongs(gatewayA)
	if p.held.Number != 4 {
		t.Fatalf("under its own id it holds %+v", p.held)
	}
	p.belongs("gw_b")
	if p.held.Number != 0 || p.lowest() != 0 {
		t.Errorf("under another id it holds %+v", p.held)
	}
	p.take(lease.From(p.clocks.read(), 1, time.Minute), terms{"gw_b", "one", 7})
	if p.held.Number != 1 {
		t.Errorf("the first lease under the other id is not held: %+v", p.held)
	}
}

func TestTheKeptLeaseIsForNobodyElse(t *testing.T) {
	p := newTenant(t)
	p.grant(4)
	stat, err := os.Stat(filepath.Join(p.dir, "lease"))
	if err != nil || stat.Mode() != 0o600 {
		t.Errorf("the file is %v (%v)", stat.Mode(), err)
	}
}

func TestAFileThatIsNoLeaseGivesNone(t *testing.T) {
	for sentence, put := range map[string]func(path string) error{
		"empty":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut short":       func(path string) error { return os.Truncate(path, 100) },
		"of another kind": func(path string) error { return os.WriteFile(path, []byte(`{"lease":{},"signature":""}`), 0o600) },
		"larger than a lease is": func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, append(text, bytes.Repeat([]byte{' '}, maxLeaseFile)...), 0o600))
		},
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link to a lease": func(path string) error {
			return errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink(path+".elsewhere", path))
		},
		"changed in one digit": func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(text), `"revision":7`, `"revision":0`, 1)), 0o600))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := newTenant(t)
			p.grant(4)
			if err := put(filepath.Join(p.dir, "lease")); err != nil {
				t.Fatal(err)
			}
			next := p.restarted()
			if err := next.resume("one", 7); err == nil || next.held.Number != 0 {
				t.Errorf("the next process goes on under %+v (%v)", next.held, err)
			}
		})
	}
}

func FuzzLeaseFile(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	file := leaseFile{filepath.Join(f.TempDir(), "lease"), private}
	kept := keptLease{Boot: thisBoot, Gateway: gatewayA, Timeline: "one", Revision: 7, Number: 4, KeptBoot: time.Hour, EndBoot: 2 * time.Hour, EndWall: time.Unix(1e9, 0).UTC()}
	if err := file.write(kept); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(file.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte(`{"lease":{"lease":5},"signature":"AAAA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := file.open(text)
		if err != nil {
			if got != (keptLease{}) {
				t.Errorf("an error, and a lease: %+v", got)
			}
			return
		}
		want, _ := json.Marshal(kept)
		if again, _ := json.Marshal(got); string(again) != string(want) {
			t.Errorf("what was not signed is read: %s", again)
		}
	})
}
