package extauthz

import (
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/lease"
)

func awaited(i, size int) *permitted {
	// Four callers fill what there is, and neither has more than its share.
	caller := authority.PrincipalID("p" + strconv.Itoa(i%eachCaller))
	return &permitted{decision: authority.DecisionID("dec_" + strconv.Itoa(i)), caller: caller, size: size}
}

func wantFull(t *testing.T, err error) {
	t.Helper()
	var denial *Denial
	if !errors.As(err, &denial) || denial.Reason != authority.ReasonNoDecision {
		t.Errorf("got %v, want %s", err, authority.ReasonNoDecision)
	}
}

// Whoever asks for permissions and never uses them takes a bounded room, for a bounded time.
func TestPermissionsThatAreNeverUsedAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ size, fit int }{
		"in number": {1, maxLive},
		"in bytes":  {maxKept, maxKeptBytes / maxKept},
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWatches(Room{})
			for i := range c.fit {
				if err := ws.expect(awaited(i, c.size), 0); err != nil {
					t.Fatalf("the request %d: %v", i, err)
				}
			}
			another := awaited(c.fit, c.size)
			another.caller = "another"
			wantFull(t, ws.expect(another, claimTime-1))
			if err := ws.expect(awaited(c.fit, c.size), claimTime); err != nil {
				t.Errorf("after they were given up: %v", err)
			}
			if len(ws.awaited) != 1 || len(ws.queue) != 1 || ws.rooms.taken != (Room{Requests: 1, Bytes: c.size}) || len(ws.rooms.by) != 1 {
				t.Errorf("%d awaited, %d queued, %+v", len(ws.awaited), len(ws.queue), ws.rooms)
			}
		})
	}
}

// One caller has its share, in whatever it is that it takes, and the others have theirs.
func TestOneCallerTakesNoMoreThanItsShare(t *testing.T) {
	of := func(caller authority.PrincipalID, i, size int, connects bool) *permitted {
		p := awaited(i, size)
		p.caller, p.connects = caller, connects
		return p
	}
	for name, c := range map[string]struct {
		size     int
		connects bool
		share    int
	}{
		"in number":  {1, false, 12_500},
		"in bytes":   {maxKept, false, 4096},
		"in tunnels": {1, true, 5_000},
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWatches(Room{})
			for i := range c.share {
				if err := ws.expect(of("flood", i, c.size, c.connects), 0); err != nil {
					t.Fatalf("the request %d: %v", i, err)
				}
			}
			var denial *Denial
			if err := ws.expect(of("flood", c.share, c.size, c.connects), 0); !errors.As(err, &denial) || denial.Reason != authority.ReasonLiveLimit {
				t.Errorf("got %v, want %s", err, authority.ReasonLiveLimit)
			}
			for i := range c.share {
				if err := ws.expect(of("other", c.share+i, c.size, c.connects), 0); err != nil {
					t.Fatalf("another's request %d: %v", i, err)
				}
			}
			if _, err := ws.claim(awaited(0, 0).decision, 0); err != nil {
				t.Fatal(err)
			}
			if err := ws.expect(of("flood", c.share, c.size, c.connects), 0); err == nil {
				t.Error("a request that is being registered takes no room")
			}
			ws.abandon(of("flood", 0, c.size, c.connects))
			if err := ws.expect(of("flood", c.share, c.size, c.connects), 0); err != nil {
				t.Errorf("once one is over: %v", err)
			}
		})
	}
}

func TestNothingIsLeftOfAWatchThatIsOver(t *testing.T) {
	ws := newWatches(Room{})
	for i := range 3 {
		p := awaited(i, 100)
		p.mandates = []authority.MandateID{"m" + authority.MandateID(strconv.Itoa(i)), "root"}
		p.principals, p.ends = []authority.PrincipalID{"p"}, time.Unix(int64(10-i), 0)
		if err := ws.expect(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	var live []*watch
	for i := range 3 {
		p, err := ws.claim(awaited(i, 0).decision, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := &watch{permitted: *p}
		ws.add(w)
		live = append(live, w)
	}
	if n := len(ws.touched(Change{Mandates: []authority.MandateID{"root", "m1"}})); n != 3 {
		t.Errorf("%d rest on the root, want 3", n)
	}
	if list := ws.touched(Change{Mandates: []authority.MandateID{"m1"}}); len(list) != 1 || list[0] != live[1] {
		t.Errorf("%v rest on m1", list)
	}
	for i, w := range []*watch{live[2], live[1], live[0]} { // the last one ends first
		if ws.ending.first() != w {
			t.Errorf("the watch %d does not end first", i)
		}
		ws.ending.take(w) // as it is when its time is over
		ws.remove(w)
	}
	if len(ws.live)+len(ws.awaited)+len(ws.mandate)+len(ws.principal)+len(ws.ending)+len(ws.rooms.by) != 0 || ws.rooms.taken != (Room{}) {
		t.Errorf("left: %+v", ws)
	}
}

// A registration and an exchange meet again and again, without gRPC between them to keep them apart.
func TestARegistrationIsBeforeAnExchangeOrAfterIt(t *testing.T) {
	s := New(Config{
		Clock: NewClock(BootTime, time.Now), Read: ReadClocks, Routes: func(string) bool { return true },
		Recorder: nil, Credentials: nil, Log: slog.New(slog.DiscardHandler),
	})
	s.Enforce(&Snapshot{}, Change{})
	s.Hold(lease.From(ReadClocks(), 1, lease.MaxTerm))
	var over sync.WaitGroup
	for i := range 20_000 {
		p := awaited(i, 1)
		// From the state that is enforced it was permitted; from any other it is denied, for it shows no credential.
		p.request, p.number, p.ends = &request{}, s.current.Load().number, time.Now().Add(time.Hour)
		if err := s.watches.expect(p, s.read().Boot); err != nil {
			t.Fatal(err)
		}
		var registered *watch
		var group sync.WaitGroup
		begin := make(chan struct{})
		group.Go(func() {
			<-begin
			w, err := s.register(t.Context(), p.decision)
			if err != nil {
				return
			}
			registered = w
			over.Go(func() {
				<-w.cut
				s.watches.remove(w)
				close(w.over)
			})
		})
		group.Go(func() {
			<-begin
			s.Enforce(&Snapshot{}, Change{All: true})
		})
		close(begin)
		group.Wait()
		if registered != nil && registered.why.Load() == nil {
			t.Fatalf("after %d exchanges a stream lives on that was permitted before the last", i)
		}
	}
	s.End(authority.ReasonNoDecision)
	over.Wait()
	if len(s.watches.rooms.by) != 0 || s.watches.rooms.taken != (Room{}) {
		t.Errorf("room is taken though nothing is live: %+v", s.watches.rooms)
	}
}
