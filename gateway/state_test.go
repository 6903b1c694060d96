package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func always() bool { return true }

func TestTheLogFollowsTheStatus(t *testing.T) {
	var log bytes.Buffer
	envoys := verdict{}
	s := newState(time.Minute, time.Now, func() verdict { return envoys }, always, slog.New(slog.NewJSONHandler(&log, nil)))
	s.Log()
	s.connected()
	s.enforce("one", 7, 2)
	s.envoyAnswered() // nothing that changes the status
	envoys = verdict{current: true, forwards: true}
	s.envoyAnswered()
	s.envoyAnswered()

	var got []Status
	for lines := json.NewDecoder(&log); lines.More(); {
		var line struct {
			Status Status `json:"status"`
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Status)
	}
	if diff := cmp.Diff([]Status{StatusFenced, StatusFenced, StatusFenced, StatusOK}, got); diff != "" {
		t.Errorf("the logged states are wrong (-want +got):\n%s", diff)
	}
}

func TestHealthTellsNobodyWhatOnlyTheLogMayHold(t *testing.T) {
	var log bytes.Buffer
	s := newState(time.Minute, time.Now, func() verdict { return verdict{refusal: "canary certificate"} }, always, slog.New(slog.NewJSONHandler(&log, nil)))
	s.disconnected(errors.New("dial tcp 10.0.0.5:8080: canary"))
	s.refused(8, errors.New("canary bundle"))
	told, err := json.Marshal(s.Health())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(told), "canary") {
		t.Errorf("health is %s", told)
	}
	for _, cause := range []string{"10.0.0.5:8080: canary", "canary bundle", "canary certificate"} {
		if !strings.Contains(log.String(), cause) {
			t.Errorf("the log lacks %q", cause)
		}
	}
}

func TestAHostWhoseClockIsOffIsNotReady(t *testing.T) {
	s := newState(time.Minute, time.Now, func() verdict { return verdict{current: true, forwards: true} }, always, slog.New(slog.DiscardHandler))
	s.connected()
	s.enforce("timeline", 1, 1)
	for skew, want := range map[time.Duration]bool{maxSkew: false, maxSkew + 1: true} {
		s.skew = func() time.Duration { return skew }
		if h := s.Health(); h.unready != want || (h.Status != StatusOK) != want {
			t.Errorf("with a skew of %s: unready %t, status %s", skew, h.unready, h.Status)
		}
	}
}

func TestAnUncoveredGatewayTellsNoTryThatIsOver(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	s := newState(time.Minute, func() time.Time { return now }, func() verdict { return verdict{} }, func() bool { return false }, slog.New(slog.DiscardHandler))
	s.enforce("one", 7, 2)
	s.retry(3 * time.Second)
	told := func() string { return strings.Join(s.Health().Reasons, "; ") }
	if got := told(); !strings.Contains(got, "the next try is at 2026-01-15T10:30:03Z") {
		t.Errorf("before the try: %s", got)
	}
	now = now.Add(5 * time.Second)
	if got := told(); strings.Contains(got, "next try") || !strings.Contains(got, "the control plane is being asked") {
		t.Errorf("while it is tried: %s", got)
	}
}

func TestHealthNamesTheProxyPortAndWhetherTLSIsSeenInside(t *testing.T) {
	s := newState(time.Minute, time.Now, func() verdict { return verdict{current: true, forwards: true} }, always, slog.New(slog.DiscardHandler))
	s.connected()
	s.enforce("timeline", 1, 1)
	if h := s.Health(); h.Proxy != nil || h.Status != StatusOK {
		t.Errorf("without a proxy port: %+v", h)
	}
	s.proxyPort = 3128
	if h := s.Health(); h.Proxy == nil || *h.Proxy != (ProxyPort{Port: 3128, Inspects: true}) || h.Status != StatusOK {
		t.Errorf("with one: %+v %+v", h, h.Proxy)
	}
	s.uninspected = func() string { return "nothing is certified" }
	h := s.Health()
	if h.Proxy == nil || h.Proxy.Inspects || h.Status != StatusDegraded || !strings.Contains(strings.Join(h.Reasons, "; "), "TLS cannot be seen inside") {
		t.Errorf("with one that nothing is certified for: %+v %+v", h, h.Proxy)
	}
}
