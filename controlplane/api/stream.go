package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

const (
	// streamTime is how long a stream stays open. Its client comes back and goes on where it was.
	streamTime = time.Hour
	// streamPoll is how often a stream looks for events when nothing wakes it, and asks whether its caller still may.
	streamPoll = time.Second
	// streamBeat is how long a stream is silent at most, so that proxies keep it and its client notices when it is gone.
	streamBeat = 15 * time.Second
	// maxStreams is how many streams one caller may have open.
	maxStreams = 8
	// reconnect is how long a client waits before it comes back, in milliseconds.
	reconnect = 2000
)

// stream tells events as they become visible, as server-sent events whose ids are places to go on from.
func (h *Handler) stream(x *exchange) (*reply, error) {
	q := readQuery(x.r.URL.RawQuery)
	filter := followFilter(q)
	if err := x.within(q); err != nil {
		return nil, err
	}
	after, err := lastEventID(x.r)
	if err != nil {
		return nil, err
	}
	end, err := h.streams.begin(x.caller, maxStreams)
	if err != nil {
		return nil, err
	}
	defer end()
	wake, cancel := h.service.Subscribe(x.caller)
	defer cancel()
	events, after, err := h.service.FollowEvents(x.ctx(), x.caller, filter, after)
	if err != nil {
		return nil, err
	}
	x.w.Header().Set("Content-Type", "text/event-stream")
	x.w.WriteHeader(http.StatusOK)
	if x.r.Method == http.MethodHead || !x.tell(fmt.Appendf(nil, "retry: %d\n\n", reconnect)) {
		return nil, nil
	}
	h.follow(x, filter, events, after, wake)
	return nil, nil
}

// follow goes on with a stream that has begun until its client leaves, its time is over or its caller may no more.
func (h *Handler) follow(x *exchange, filter controlplane.EventFilter, events []controlplane.Followed, after string, wake <-chan struct{}) {
	poll := time.NewTicker(streamPoll)
	defer poll.Stop()
	told := time.Now()
	for {
		text, err := encodeStream(events)
		if err != nil {
			h.log.ErrorContext(x.ctx(), "stream broken off", "request_id", x.id, "error", err)
			return
		}
		if len(text) == 0 && time.Since(told) >= streamBeat {
			text = []byte(":\n\n")
		}
		if len(text) > 0 {
			if !x.tell(text) {
				return
			}
			told = time.Now()
		}
		if len(events) < controlplane.MaxFollowed {
			select {
			case <-x.ctx().Done():
				return
			case <-wake:
			case <-poll.C:
			}
		}
		next, place, err := h.followed(x, filter, after)
		var refused *authority.Error
		switch {
		case errors.As(err, &refused) && refused.Code == authority.CodeUnavailable:
			events = nil // the database comes back, and the stream goes on
		case err != nil:
			h.log.DebugContext(x.ctx(), "stream ended", "request_id", x.id, "cause", err)
			return
		default:
			events, after = next, place
		}
	}
}

// followed looks for events as whom the request's credential stands for now.
func (h *Handler) followed(x *exchange, filter controlplane.EventFilter, after string) ([]controlplane.Followed, string, error) {
	again := &exchange{w: x.w, r: x.r, id: x.id}
	if err := h.identify(again, bearer(x.r)); err != nil {
		return nil, "", err
	}
	q := readQuery(x.r.URL.RawQuery)
	followFilter(q)
	if err := again.within(q); err != nil {
		return nil, "", err
	}
	return h.service.FollowEvents(x.ctx(), again.caller, filter, after)
}

// tell writes and sends a piece of a stream, and reports whether its client was there to take it.
func (x *exchange) tell(text []byte) bool {
	control := http.NewResponseController(x.w)
	// A connection that knows no deadlines is bounded by the context alone.
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := x.w.Write(text)
	return err == nil && control.Flush() == nil
}

func encodeStream(events []controlplane.Followed) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for _, e := range events {
		fmt.Fprintf(&text, "id: %s\nevent: %s\ndata: ", e.After, e.Event.Type)
		if err := encoder.Encode(e.Event); err != nil {
			return nil, fmt.Errorf("encoding event %s: %w", e.Event.ID, err)
		}
		text.WriteByte('\n')
	}
	return text.Bytes(), nil
}

// lastEventID is where a client that comes back was.
func lastEventID(r *http.Request) (string, error) {
	values := r.Header.Values("Last-Event-Id")
	if len(values) > 1 || len(values) == 1 && !oneLine(values[0]) {
		return "", authority.Invalid("Last-Event-ID", "must be given once, as the stream told it")
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}
