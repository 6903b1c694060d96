package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// Events lists events, newest first, at most limit of them, which is at least 1.
func (c *Client) Events(ctx context.Context, f Filter, limit int) ([]authority.Event, error) {
	values := f.values()
	all := []authority.Event{}
	for len(all) < limit {
		values.Set("limit", strconv.Itoa(min(pageSize, limit-len(all))))
		events, next, err := c.eventPage(ctx, c.collection("events")+"?"+values.Encode())
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
		if next == "" {
			break
		}
		values.Set("cursor", next)
	}
	return all, nil
}

func (c *Client) eventPage(ctx context.Context, path string) (events []authority.Event, next string, err error) {
	response, err := c.send(ctx, c.http, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	if err := decode(response.Body, &events); err != nil {
		return nil, "", err
	}
	return events, response.Header.Get("X-Caracal-Next-Cursor"), nil
}

// ExportEvents copies all events that match to w; the format is jsonl or csv.
func (c *Client) ExportEvents(ctx context.Context, f Filter, format string, w io.Writer) error {
	values := f.values()
	values.Set("format", format)
	response, err := c.send(ctx, c.streams, Request{Method: http.MethodGet, Path: c.collection("events") + "?" + values.Encode()})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("the export broke off, what was written is not all of it: %w", err)
	}
	return nil
}

// decisionTimeout is how long a gateway may take to ship the record of a decision, with some to spare.
const decisionTimeout = 5 * time.Second

// Event finds an event by its own id or by that of its decision. A decision that was made a moment ago is on its way
// from its gateway and is waited for, for at most five seconds.
func (c *Client) Event(ctx context.Context, id string) (authority.Event, error) {
	deadline := time.Now().Add(decisionTimeout)
	for {
		e, err := call[authority.Event](ctx, c, http.MethodGet, single("events", id, ""), nil)
		if !absent(err) || !strings.HasPrefix(id, "dec_") || time.Now().After(deadline) {
			return e, err
		}
		if err := pause(ctx, settlePause); err != nil {
			return e, err
		}
	}
}
