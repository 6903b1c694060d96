package api_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/controlplane/replica"
	"github.com/caracal-gateway/caracal/internal/redistest"
)

// newReplica starts a control plane that shares its database and its Redis with others. stop ends what it does beside
// answering.
func newReplica(t *testing.T, databaseURL, redisURL string, perSecond int) (w *world, stop func()) {
	t.Helper()
	store, err := postgres.Open(postgres.Config{URL: databaseURL, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	log := slog.New(slog.DiscardHandler)
	shared, err := replica.Open(replica.Config{RedisURL: redisURL, Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	service, err := controlplane.New(controlplane.Config{
		Store: store, Replica: shared, MasterKey: bytes.Repeat([]byte{7}, 32), SetupKey: setupKey, Log: log, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	handler, err := api.New(api.Config{Service: service, Log: log, RequestsPerSecond: perSecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &world{url: server.URL, service: service, store: store, log: &lockedBuffer{}}, stop
}

func (w *world) limits(t *testing.T) string {
	t.Helper()
	health := into[struct{ Limits string }](w.call(t, "", "GET", "/health", nil).ok(200))
	return health.Limits
}

func (w *world) awaitLimits(t *testing.T, want string) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for w.limits(t) != want {
		select {
		case <-deadline.C:
			t.Fatalf("limits are %s, never %s", w.limits(t), want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// exhaust asks each world in turn until one refuses for the rate, and answers how often it was let through.
func exhaust(t *testing.T, key string, worlds ...*world) int {
	t.Helper()
	for n := 0; ; n++ {
		a := worlds[n%len(worlds)].call(t, key, "GET", "/api/v1/mandates", nil)
		if a.status == 429 {
			a.refused(429, "rate_limited", "", "")
			if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			return n
		}
		if n == 1000 {
			t.Fatal("nothing is refused")
		}
	}
}

// atMost is how often something may happen in a time: so often at once, and as often again a minute.
func atMost(burst, perMinute int, since time.Time) int {
	return burst + int(time.Since(since).Minutes()*float64(perMinute)) + 1
}

func TestReplicasLimitTogetherAndWithoutRedisEachForItself(t *testing.T) {
	_, database := cluster.New(t)
	redis := redistest.New(t)
	one, _ := newReplica(t, database, redis.URL(), 1)
	two, _ := newReplica(t, database, redis.URL(), 1)
	one.awaitLimits(t, "shared")
	two.awaitLimits(t, "shared")
	m := one.newTeam(t, "my-team")

	t.Run("bad credentials", func(t *testing.T) {
		start := time.Now()
		got := exhaust(t, "no-such-key", one, two)
		if got < 10 || got > atMost(10, 10, start) {
			t.Errorf("two replicas let %d bad credentials through, want 10", got)
		}
		m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
	})
	t.Run("requests of a caller", func(t *testing.T) {
		start := time.Now()
		got := exhaust(t, m.helperKey, one, two)
		if got < 10 || got > atMost(10, 60, start) {
			t.Errorf("two replicas let %d requests through, want 10", got)
		}
		m.call(t, m.gatewayKey, "GET", "/api/v1/gateways", nil).ok(200)
	})

	redis.Kill(t)
	for name, w := range map[string]*world{"one": one, "two": two} {
		t.Run("without Redis: "+name, func(t *testing.T) {
			start := time.Now()
			got := exhaust(t, "no-such-key", w)
			if got < 10 || got > atMost(10, 10, start) {
				t.Errorf("a replica lets %d bad credentials through, want 10 of its own", got)
			}
			w.awaitLimits(t, "unavailable")
		})
	}
	redis.Start(t)
	one.awaitLimits(t, "shared")
}

// Bad credentials are counted by the key that they claim to be, wherever they come from, and by a subscriber's network.
func TestBadCredentialsAreCountedByWhomTheyClaimToBeAndByWhereTheyComeFrom(t *testing.T) {
	w := newWorld(t)
	m := w.newTeam(t, "my-team")
	handler, err := api.New(api.Config{Service: w.service, Log: w.logger(), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	behind := &world{url: server.URL, service: w.service, store: w.store, log: w.log}
	secret := m.agentKey[strings.LastIndexByte(m.agentKey, '_')+1:]
	claimed := strings.TrimSuffix(m.agentKey, secret) + strings.Repeat("a", len(secret))
	for sentence, try := range map[string]struct {
		credential, from string // %d is the number of the attempt
		limited          bool
	}{
		"one key from many addresses":       {claimed, "198.51.100.%d", true},
		"no key from one IPv6 subscriber":   {"nonsense", "2001:db8:0:1::%d", true},
		"no key from many IPv4 addresses":   {"nonsense", "203.0.113.%d", false},
		"no key from many IPv6 subscribers": {"nonsense", "2001:db8:1:%d::1", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			limited := false
			for n := range 30 {
				a := behind.call(t, try.credential, "GET", "/api/v1/mandates", nil, "X-Forwarded-For: "+fmt.Sprintf(try.from, n+1))
				limited = limited || a.status == 429
			}
			if limited != try.limited {
				t.Errorf("limited: %v, want %v", limited, try.limited)
			}
		})
	}
	m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
}

func TestAWorkspaceHasALimitOfItsOwn(t *testing.T) {
	_, database := cluster.New(t)
	w, _ := newReplica(t, database, "", 1)
	if got := w.limits(t); got != "per_process" {
		t.Errorf("limits are %s without Redis", got)
	}
	m, other := w.newTeam(t, "my-team"), w.newTeam(t, "other-team")
	start := time.Now()
	total := 0
	for _, key := range m.keys(t, 6) {
		total += exhaust(t, key, w)
	}
	if total < 20 || total > atMost(40, 240, start) {
		t.Errorf("six keys of one workspace sent %d requests, want at most 40", total)
	}
	other.own("GET", other.at("mandates"), nil).ok(200)
}

// keys makes keys of one agent.
func (m *team) keys(t *testing.T, n int) []string {
	t.Helper()
	keys := make([]string, n)
	for i := range keys {
		key, err := m.world.service.CreateKey(t.Context(), m.ownerCaller(t), controlplane.NewKey{Kind: authority.KeyAgent, Name: "key", PrincipalID: m.agent})
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key.Value.APIKey
	}
	return keys
}

func (m *team) ownerCaller(t *testing.T) controlplane.Caller {
	t.Helper()
	caller, err := m.world.service.Authenticate(t.Context(), controlplane.Credential{Bearer: m.ownerKey})
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

func TestWhenAKeyWasLastUsedIsWrittenDown(t *testing.T) {
	for name, redisURL := range map[string]string{"without Redis": "", "with Redis": redistest.New(t).URL()} {
		t.Run(name, func(t *testing.T) {
			_, database := cluster.New(t)
			w, stop := newReplica(t, database, redisURL, 100)
			m := w.newTeam(t, "my-team")
			before := time.Now().Add(-time.Second)
			m.call(t, m.agentKey, "GET", "/api/v1/mandates", nil).ok(200)
			after := time.Now()
			stop() // what was seen is written down at the latest
			keys := into[struct{ Items []authority.Key }](m.own("GET", m.at("keys")+"?principal_id="+string(m.agent), nil).ok(200)).Items
			if len(keys) != 1 || keys[0].LastUsedAt == nil {
				t.Fatalf("the agent's keys are %+v", keys)
			}
			if used := *keys[0].LastUsedAt; used.Before(before) || used.After(after) {
				t.Errorf("last used at %v, not between %v and %v", used, before, after)
			}
		})
	}
}
