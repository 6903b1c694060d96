package revocation_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// began is what all times of a history count from, in the upstream, which is of this process, as in the clients.
var began = time.Now()

func since() int64 { return int64(time.Since(began)) }

const beat = 10 * time.Millisecond

// seen is one thing that a client saw, over a period in which it can have been decided.
type seen struct {
	mandate      authority.MandateID
	gateway      int
	what         observation
	call, answer int64
}

type observation string

const (
	permitted observation = "permitted"
	revoked   observation = "revoked"
	asked     observation = "revocation asked for"
	enforced  observation = "revocation enforced"
)

// history is all that clients saw.
type history struct {
	mu    sync.Mutex
	all   []seen
	other map[string]int // answers that say nothing of a mandate, counted
}

func (h *history) note(s seen) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, s)
}

func (h *history) noteOther(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.other == nil {
		h.other = map[string]int{}
	}
	h.other[what]++
}

func (h *history) of(m authority.MandateID) []seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	var own []seen
	for _, s := range h.all {
		if s.mandate == m {
			own = append(own, s)
		}
	}
	return own
}

// count is how often something was seen under a mandate.
func (h *history) count(m authority.MandateID, what observation) int {
	n := 0
	for _, s := range h.of(m) {
		if s.what == what {
			n++
		}
	}
	return n
}

// agent calls through one gateway under one mandate until ctx ends: short requests one after the other, and one stream,
// which is opened anew whenever it ends.
type agent struct {
	*history
	at      *http.Client
	gateway int
	address string
	mandate authority.MandateID
	token   string
	target  func(host, path string) string
}

func (a agent) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { a.repeat(ctx, a.short) })
	both.Go(func() { a.repeat(ctx, a.stream) })
	both.Wait()
}

func (a agent) repeat(ctx context.Context, do func(context.Context)) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for ctx.Err() == nil {
		do(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (a agent) request(ctx context.Context, host, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.address+"/api/proxy", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("X-Caracal-Mandate", string(a.mandate))
	request.Header.Set("X-Caracal-Target-URL", a.target(host, path))
	return a.at.Do(request)
}

// short is one request that ends by itself.
func (a agent) short(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	call := since()
	response, err := a.request(ctx, "short", "/")
	if err != nil {
		a.noteOther("no answer")
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil {
		a.judge(call, response.StatusCode, body)
	}
}

func (a agent) judge(call int64, status int, body []byte) {
	var denial struct {
		Error string `json:"error"`
	}
	switch {
	case status == http.StatusOK:
		a.note(seen{a.mandate, a.gateway, permitted, call, since()})
	case json.Unmarshal(body, &denial) == nil && denial.Error == "mandate_revoked":
		a.note(seen{a.mandate, a.gateway, revoked, call, since()})
	default:
		a.noteOther(fmt.Sprintf("%d %s", status, denial.Error))
	}
}

// stream reads lines as long as they come. Each was permitted when its upstream sent it.
func (a agent) stream(ctx context.Context) {
	call := since()
	response, err := a.request(ctx, "watched", "/stream")
	if err != nil {
		a.noteOther("no answer")
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		if err == nil {
			a.judge(call, response.StatusCode, body)
		}
		return
	}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		sent, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return // cut within a line
		}
		a.note(seen{a.mandate, a.gateway, permitted, sent, sent})
	}
}
