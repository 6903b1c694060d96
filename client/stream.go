package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

const (
	// maxStreamLine bounds a line of a stream: the largest event, with some to spare.
	maxStreamLine = 1 << 20
	// A stream that breaks is taken up again after a pause, which doubles up to the longest while it goes on breaking.
	firstStreamPause   = 500 * time.Millisecond
	longestStreamPause = 15 * time.Second
)

// FollowEvents calls take for each event that matches, as it happens, until ctx ends, take fails or the control plane
// refuses. A stream that breaks is taken up where it was; broken is told why, and may be nil.
func (c *Client) FollowEvents(ctx context.Context, f Filter, take func(authority.Event) error, broken func(error)) error {
	last, wait := "", firstStreamPause
	for {
		before := last
		err := c.stream(ctx, f, &last, take)
		var refused *Error
		var failed *takeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &failed):
			return failed.error
		case errors.As(err, &refused) && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
			return err
		}
		if broken != nil {
			broken(err)
		}
		if last != before {
			wait = firstStreamPause
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, longestStreamPause)
	}
}

// takeError is a failure of whoever takes the events.
type takeError struct{ error }

// stream reads one connection's events, and notes the last one's id.
func (c *Client) stream(ctx context.Context, f Filter, last *string, take func(authority.Event) error) error {
	path := c.collection("events") + "/stream"
	if query := f.values().Encode(); query != "" {
		path += "?" + query
	}
	request, err := c.request(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if *last != "" {
		request.Header.Set("Last-Event-ID", *last)
	}
	response, err := c.streams.Do(request)
	if err != nil {
		return fmt.Errorf("calling the control plane: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxStreamLine)
	var message serverSent
	for lines.Scan() {
		if !message.line(lines.Text()) {
			continue
		}
		if err := message.deliver(take); err != nil {
			return err
		}
		if message.id != "" {
			*last = message.id
		}
		message = serverSent{}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("following events: %w", err)
	}
	return fmt.Errorf("following events: %w", io.EOF)
}

// serverSent is one message of a stream of server-sent events.
type serverSent struct{ id, data string }

// line takes in a line, and reports whether the message is complete with it.
func (m *serverSent) line(text string) (complete bool) {
	if text == "" {
		return m.data != ""
	}
	name, value, _ := strings.Cut(text, ":") // a comment has no name
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		m.id = value
	case "data":
		if m.data != "" {
			m.data += "\n"
		}
		m.data += value
	}
	return false
}

func (m *serverSent) deliver(take func(authority.Event) error) error {
	var e authority.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	if err := take(e); err != nil {
		return &takeError{err}
	}
	return nil
}
