package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// drainTime is how long what is under way may take to end when the gateway stops: at Envoy, and then at the gateway's
	// own endpoints.
	drainTime = 5 * time.Second
	// cutTime is how long Envoy may take to pass on that live streams were ended.
	cutTime    = time.Second
	drainPoll  = 50 * time.Millisecond
	activeStat = "downstream_rq_active"
)

// admin speaks to an Envoy on its admin socket.
type admin struct {
	client *http.Client
	log    *slog.Logger
}

func newAdmin(socket string, log *slog.Logger) admin {
	return admin{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}, log}
}

// drain lets an Envoy that is about to be stopped finish: it takes no connections any more, closes those that it has
// with the answer to the request that is under way on them, and has drainTime for that. Then cut ends the live streams
// that are left. An Envoy that does not answer has nothing to finish.
func (a admin) drain(cut func()) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime+2*cutTime)
	defer cancel()
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners"} {
		if _, err := a.call(ctx, http.MethodPost, path); err != nil {
			a.log.Warn("envoy is stopped without being drained", "cause", err)
			cut()
			return
		}
	}
	a.quiet(ctx, drainTime)
	cut()
	a.quiet(ctx, cutTime)
}

// quiet waits until no request is under way, for as long as given.
func (a admin) quiet(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		text, err := a.call(ctx, http.MethodGet, "/stats?filter="+activeStat)
		if err != nil || active(text) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPoll):
		}
	}
}

// active counts the requests that are under way by Envoy's statistics, apart from the one that asks for them.
func active(stats string) uint64 {
	var sum uint64
	for lines := bufio.NewScanner(strings.NewReader(stats)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if strings.HasPrefix(name, "http.") && strings.HasSuffix(name, "."+activeStat) && name != "http.admin."+activeStat {
			n, _ := strconv.ParseUint(value, 10, 64) // what is no number counts for nothing
			sum += n
		}
	}
	return sum
}

func (a admin) call(ctx context.Context, method, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return "", fmt.Errorf("ask Envoy: %w", err)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask Envoy: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read Envoy's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask Envoy for %s: it answers %d", path, response.StatusCode)
	}
	return string(text), nil
}
