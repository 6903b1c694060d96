package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Probed is an answer as it came, whoever gave it.
type Probed struct {
	Status int
	Body   []byte
	// Skew is how far the server's clock is ahead of this machine's, to a second or what the network took; 0 where the
	// answer does not tell.
	Skew time.Duration
}

// Probe asks for a path that needs no key, and sends none. Any answer is one, a refusal or a page of somebody else's too.
func (c *Client) Probe(ctx context.Context, path string) (Probed, error) {
	stranger := &Client{base: c.base}
	request, err := stranger.request(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return Probed{}, err
	}
	before := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return Probed{}, fmt.Errorf("calling the control plane: %w", err)
	}
	defer response.Body.Close()
	after := time.Now()
	p := Probed{Status: response.StatusCode}
	if p.Body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20)); err != nil {
		return p, fmt.Errorf("reading the answer: %w", err)
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		p.Skew = skew(date, before, after)
	}
	return p, nil
}

// skew is how far a clock that shows whole seconds is from this one's, when it was read between two moments.
func skew(date, before, after time.Time) time.Duration {
	switch {
	case date.Add(time.Second).Before(before):
		return date.Add(time.Second).Sub(before).Truncate(time.Second)
	case date.After(after):
		return date.Sub(after).Truncate(time.Second)
	}
	return 0
}
