package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/internal/redistest"
)

// kept gathers what replicas keep.
type kept struct {
	mu  sync.Mutex
	all map[string]time.Time
}

func (k *kept) keep(_ context.Context, sightings []replica.Sighting) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range sightings {
		k.all[string(s.Workspace)+" "+s.Subject] = s.At
	}
	return nil
}

func (k *kept) seen() map[string]time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]time.Time{}
	for name, at := range k.all {
		out[name] = at
	}
	return out
}

// open starts a replica; stop ends it and waits.
func open(t *testing.T, url string, now func() time.Time, k *kept) (r *replica.Replica, stop func()) {
	t.Helper()
	r, err := replica.Open(replica.Config{RedisURL: url, Log: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, k.keep) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func nobody() *kept { return &kept{all: map[string]time.Time{}} }

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func inState(r *replica.Replica, want replica.State) func() bool {
	return func() bool { return r.State() == want }
}

// slow is a rate that allows nothing more within a test once its burst is over.
func slow(burst int) replica.Rate { return replica.Rate{Burst: burst, PerMinute: 1} }

func limit(t *testing.T, r *replica.Replica, name string, rate replica.Rate) *replica.Limit {
	t.Helper()
	l, err := r.Limit(name, rate)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// taken counts how many of n are within the limit.
func taken(t *testing.T, l *replica.Limit, subject string, n int) int {
	t.Helper()
	var granted int
	for range n {
		if l.Take(t.Context(), subject) == 0 {
			granted++
		}
	}
	return granted
}

func TestWithoutRedisAProcessCountsForItself(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r, _ := open(t, "", func() time.Time { return at }, nobody())
	l := limit(t, r, "tries", replica.Rate{Burst: 10, PerMinute: 10})
	if got := taken(t, l, "a", 20); got != 10 {
		t.Errorf("%d of 20 at once, want 10", got)
	}
	if got := taken(t, l, "b", 1); got != 1 {
		t.Error("one subject is limited for what another did")
	}
	if wait := l.Take(t.Context(), "a"); wait != 6*time.Second {
		t.Errorf("the next is allowed after %v, want 6s", wait)
	}
	at = at.Add(6 * time.Second)
	if got := taken(t, l, "a", 2); got != 1 {
		t.Errorf("%d of 2 after 6 seconds, want 1", got)
	}
	if got := r.State(); got != replica.PerProcess {
		t.Errorf("state %s", got)
	}
}

func TestReplicasCountTogetherThroughRedis(t *testing.T) {
	server := redistest.New(t)
	one, _ := open(t, server.URL(), time.Now, nobody())
	two, _ := open(t, server.URL(), time.Now, nobody())
	await(t, "both find Redis", func() bool { return one.State() == replica.Shared && two.State() == replica.Shared })
	here, there := limit(t, one, "tries", slow(10)), limit(t, two, "tries", slow(10))
	var granted int
	for range 10 {
		granted += taken(t, here, "a", 1) + taken(t, there, "a", 1)
	}
	if granted != 10 {
		t.Errorf("two replicas grant %d together, want 10", granted)
	}
	if got := taken(t, limit(t, two, "other", slow(10)), "a", 1); got != 1 {
		t.Error("what counts for one limit counts for another")
	}
}

func TestManyAtOnceAreCountedExactly(t *testing.T) {
	server := redistest.New(t)
	r, _ := open(t, server.URL(), time.Now, nobody())
	await(t, "Redis is found", inState(r, replica.Shared))
	l := limit(t, r, "tries", slow(20))
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		granted int
	)
	for range 16 {
		all.Go(func() {
			got := taken(t, l, "a", 5)
			mu.Lock()
			defer mu.Unlock()
			granted += got
		})
	}
	all.Wait()
	if granted != 20 {
		t.Errorf("%d of 80 at once, want 20", granted)
	}
}

func TestWhileRedisIsAwayAProcessCountsForItself(t *testing.T) {
	for name, away := range map[string]struct{ leave, comeBack func(*redistest.Server) }{
		"killed": {func(s *redistest.Server) { s.Kill(t) }, func(s *redistest.Server) { s.Start(t) }},
		"frozen": {func(s *redistest.Server) { s.Pause(t) }, func(s *redistest.Server) { s.Resume(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.New(t)
			r, _ := open(t, server.URL(), time.Now, nobody())
			l := limit(t, r, "tries", slow(5))
			await(t, "Redis is found", inState(r, replica.Shared))
			if got := taken(t, l, "a", 10); got != 5 {
				t.Fatalf("%d of 10 with Redis, want 5", got)
			}
			away.leave(server)
			if got := taken(t, l, "a", 10); got != 5 {
				t.Errorf("%d of 10 without Redis, want 5: the process counts for itself", got)
			}
			if got := r.State(); got != replica.Unavailable {
				t.Errorf("state %s without Redis", got)
			}
			away.comeBack(server)
			await(t, "Redis is found again", inState(r, replica.Shared))
		})
	}
}

func TestAReplicaStartsWithoutItsRedis(t *testing.T) {
	server := redistest.New(t)
	server.Kill(t)
	r, _ := open(t, server.URL(), time.Now, nobody())
	if got := taken(t, limit(t, r, "tries", slow(5)), "a", 10); got != 5 {
		t.Errorf("%d of 10, want 5", got)
	}
	server.Start(t)
	await(t, "Redis is found", inState(r, replica.Shared))
}

func TestARedisURLThatIsNoneIsRefusedWithoutItsPassword(t *testing.T) {
	_, err := replica.Open(replica.Config{RedisURL: "http://user:open-sesame@host:1"})
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v", err)
	}
}

func TestWhoWasSeenIsKept(t *testing.T) {
	const subject = "key_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	workspace := authority.NewID[authority.WorkspaceID]()
	early := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	late := early.Add(time.Minute)
	want := map[string]time.Time{string(workspace) + " " + subject: late}

	t.Run("by the process alone, without Redis", func(t *testing.T) {
		k := nobody()
		r, stop := open(t, "", time.Now, k)
		r.See(workspace, subject, late)
		r.See(workspace, subject, early)
		stop()
		if diff := cmp.Diff(want, k.seen()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("by any replica, through Redis", func(t *testing.T) {
		server := redistest.New(t)
		k := nobody()
		one, stopOne := open(t, server.URL(), time.Now, k)
		_, stopTwo := open(t, server.URL(), time.Now, k)
		await(t, "Redis is found", inState(one, replica.Shared))
		one.See(workspace, subject, late)
		stopOne()
		stopTwo()
		await(t, "it is kept", func() bool {
			_, stop := open(t, server.URL(), time.Now, k)
			stop()
			return len(k.seen()) > 0
		})
		if diff := cmp.Diff(want, k.seen()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("not at all, which does not make Redis be taken for away", func(t *testing.T) {
		k := nobody()
		r, stop := open(t, redistest.New(t).URL(), time.Now, k)
		await(t, "Redis is found", inState(r, replica.Shared))
		stop()
		if !inState(r, replica.Shared)() {
			t.Error("Redis is taken for away because nobody was seen")
		}
	})
	t.Run("later, when the database is away at first", func(t *testing.T) {
		k := nobody()
		refused := make(chan struct{})
		var once sync.Once
		r, err := replica.Open(replica.Config{Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		r.See(workspace, subject, late)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- r.Run(ctx, func(ctx context.Context, s []replica.Sighting) error {
				first := false
				once.Do(func() { first = true; close(refused) })
				if first {
					return errors.New("the database is away")
				}
				return k.keep(ctx, s)
			})
		}()
		<-refused
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, k.seen()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatOthersWriteToRedisIsNotBelieved(t *testing.T) {
	server := redistest.New(t)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	stranger := redis.NewClient(options)
	defer stranger.Close()
	workspace := string(authority.NewID[authority.WorkspaceID]())
	err = stranger.HSet(t.Context(), "caracal:seen", "", "", "wks_x key_1", "5", workspace, "5", workspace+" key_1", "soon", workspace+" key_2", "1000000").Err()
	if err != nil {
		t.Fatal(err)
	}
	k := nobody()
	r, _ := open(t, server.URL(), time.Now, k)
	await(t, "Redis is found", inState(r, replica.Shared))
	await(t, "what can be read is kept", func() bool {
		_, stop := open(t, server.URL(), time.Now, k)
		stop()
		return len(k.seen()) > 0
	})
	if diff := cmp.Diff(map[string]time.Time{workspace + " key_2": time.Unix(1, 0).UTC()}, k.seen()); diff != "" {
		t.Error(diff)
	}
}

// heard are the wake-ups that a replica passed on.
type heard struct {
	mu    sync.Mutex
	all   []string
	block chan struct{} // holds up whoever passes something on; nil: nobody
}

func (h *heard) pass(t replica.Topic, w authority.WorkspaceID) {
	h.mu.Lock()
	h.all = append(h.all, string(t)+" "+string(w))
	h.mu.Unlock()
	if h.block != nil {
		<-h.block
	}
}

func (h *heard) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// listen has a replica pass wake-ups on until the test ends.
func listen(t *testing.T, r *replica.Replica, h *heard) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Woken(ctx, h.pass) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Woken: %v", err)
		}
	})
}

func TestReplicasWakeEachOther(t *testing.T) {
	server := redistest.New(t)
	a, _ := open(t, server.URL(), time.Now, nobody())
	b, _ := open(t, server.URL(), time.Now, nobody())
	var atA, atB heard
	listen(t, a, &atA)
	listen(t, b, &atB)
	workspace := authority.NewID[authority.WorkspaceID]()
	reaches := func() bool {
		a.Wake(replica.Changes, workspace)
		return slices.Contains(atB.list(), "changes "+string(workspace))
	}
	await(t, "a wake-up reaches the other replica", reaches)
	a.Wake(replica.Acks, workspace)
	await(t, "one of another topic does", func() bool { return slices.Contains(atB.list(), "acks "+string(workspace)) })
	if own := atA.list(); len(own) != 0 {
		t.Errorf("a replica is woken by itself: %q", own)
	}

	server.Kill(t)
	server.Start(t)
	atB.mu.Lock()
	atB.all = nil
	atB.mu.Unlock()
	await(t, "a wake-up reaches the other replica when Redis is back", reaches)
}

func TestForgedWakeUpsAreFewHintsWhateverTheirNumber(t *testing.T) {
	server := redistest.New(t)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	stranger := redis.NewClient(options)
	defer stranger.Close()
	r, _ := open(t, server.URL(), time.Now, nobody())
	h := &heard{block: make(chan struct{})}
	listen(t, r, h)
	mine, last := string(authority.NewID[authority.WorkspaceID]()), string(authority.NewID[authority.WorkspaceID]())
	forge := func(messages ...string) {
		t.Helper()
		for _, m := range messages {
			if err := stranger.Publish(t.Context(), "caracal:wake", m).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "the first is passed on", func() bool {
		forge("x changes " + mine)
		return len(h.list()) == 1
	})
	for range 5000 {
		forge("x changes " + mine)
	}
	forge("", "x", "x changes", "x revoke "+mine, "x changes wks_x", "x acks "+mine+" more", strings.Repeat("x", 1<<20), "x acks "+last)
	close(h.block)
	await(t, "the last is passed on", func() bool { return slices.Contains(h.list(), "acks "+last) })
	for _, got := range h.list() {
		if got != "changes "+mine && got != "acks "+last {
			t.Errorf("passed on: %q", got)
		}
	}
	if n := len(h.list()); n > 10 {
		t.Errorf("%d wake-ups for one workspace while it is looked at once", n)
	}
}
