// Package echo is an HTTPS upstream that answers with what it received and
// remembers it, so that a test, or a person at a laptop, can see what came
// through a gateway, or that nothing did.
package echo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Request is one request as it arrived.
type Request struct {
	Method string `json:"method"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	// Path is the request target byte for byte, with its query.
	Path     string `json:"path"`
	Protocol string `json:"protocol"`
	// ServerName is the name that the client asked for in the TLS handshake.
	ServerName string `json:"server_name"`
	// Header holds every field but Host, its values in the order they came.
	Header http.Header `json:"headers"`
	// Trailer holds what came behind the body.
	Trailer http.Header `json:"trailers,omitempty"`
	// BodySHA256 is in hexadecimal, of all of the body; empty until it came.
	BodySHA256 string `json:"body_sha256"`
	BodyLength int64  `json:"body_length"`
}

// The most that one request may ask for.
const (
	maxEvents  = 100_000
	maxBytes   = 1 << 30
	maxPause   = time.Hour
	maxMessage = 4 << 20
)

// Handler answers each request with its [Request] as JSON. The last segments of
// the path, whatever stands before them, ask for something else:
//
//	/stream?n=&ms=  n server-sent events, one every ms milliseconds
//	/slow?ms=       the answer after ms milliseconds
//	/status/N       the answer with status N (200 to 599)
//	/bytes?n=       n bytes
//	/ws             a WebSocket that sends back every message
//
// Every request is noted in rec as soon as its header is there, before anything
// is answered. Rec may be nil.
func Handler(rec *Recorder) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "caracal-echo")
		noted := rec.note(received(r))
		segments := strings.Split(r.URL.EscapedPath(), "/")
		last := segments[len(segments)-1]
		if last == "ws" {
			serveWebSocket(w, r)
			return
		}
		request, err := readBody(r)
		if err != nil {
			return // the client has gone
		}
		rec.complete(noted, request)

		switch {
		case last == "stream":
			err = serveStream(w, r)
		case last == "bytes":
			err = serveBytes(w, r)
		case last == "slow":
			err = serveSlowly(w, r, request)
		case len(segments) > 1 && segments[len(segments)-2] == "status":
			err = serveStatus(w, last, request)
		default:
			err = answer(w, http.StatusOK, request)
		}
		// Any other error means that the client has gone.
		if wrong, ok := errors.AsType[badRequest](err); ok {
			http.Error(w, wrong.Error(), http.StatusBadRequest)
		}
	})
}

// badRequest says what is wrong with the parameters of a request.
type badRequest string

func (b badRequest) Error() string { return string(b) }

func received(r *http.Request) Request {
	request := Request{Method: r.Method, Scheme: "http", Host: r.Host, Path: r.RequestURI, Protocol: r.Proto, Header: r.Header.Clone()}
	if r.TLS != nil {
		request.Scheme, request.ServerName = "https", r.TLS.ServerName
	}
	return request
}

func readBody(r *http.Request) (Request, error) {
	digest := sha256.New()
	length, err := io.Copy(digest, r.Body)
	if err != nil {
		return Request{}, fmt.Errorf("read body: %w", err)
	}
	request := received(r)
	request.BodySHA256, request.BodyLength = hex.EncodeToString(digest.Sum(nil)), length
	request.Trailer = r.Trailer.Clone() // complete once the body has been read
	return request, nil
}

func answer(w http.ResponseWriter, status int, request Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(request)
}

func serveStream(w http.ResponseWriter, r *http.Request) error {
	n, err := number(r, "n", 5, maxEvents)
	if err != nil {
		return err
	}
	ms, err := number(r, "ms", 100, int(maxPause/time.Millisecond))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream := http.NewResponseController(w)
	for i := 1; i <= n; i++ {
		if i > 1 {
			if err := pause(r.Context(), ms); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d,\"of\":%d}\n\n", i, i, n); err != nil {
			return err
		}
		if err := stream.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func serveBytes(w http.ResponseWriter, r *http.Request) error {
	n, err := number(r, "n", 1024, maxBytes)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	chunk := []byte(strings.Repeat("0123456789abcdef", 2048))
	for n > 0 {
		written, err := w.Write(chunk[:min(n, len(chunk))])
		if err != nil {
			return err
		}
		n -= written
	}
	return nil
}

func serveSlowly(w http.ResponseWriter, r *http.Request, request Request) error {
	ms, err := number(r, "ms", 1000, int(maxPause/time.Millisecond))
	if err != nil {
		return err
	}
	if err := pause(r.Context(), ms); err != nil {
		return err
	}
	return answer(w, http.StatusOK, request)
}

func serveStatus(w http.ResponseWriter, text string, request Request) error {
	status, err := strconv.Atoi(text)
	if err != nil || status < 200 || status > 599 {
		return badRequest("the status is not a number from 200 to 599")
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	return answer(w, status, request)
}

// serveWebSocket ends with the client, or with the server's context.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // of the Origin: every page may talk to an echo
	})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = socket.CloseNow() }() // the client may have closed it
	socket.SetReadLimit(maxMessage)
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		if err := socket.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// pause fails when the client goes meanwhile.
func pause(ctx context.Context, ms int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	}
}

func number(r *http.Request, name string, missing, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return missing, nil
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < 0 || value > most {
		return 0, badRequest(fmt.Sprintf("%s is not a number from 0 to %d", name, most))
	}
	return value, nil
}

// Serve answers HTTPS, as HTTP/1.1 and HTTP/2, until the context ends, and then
// cuts every connection and returns nil. It closes the listener.
func Serve(ctx context.Context, listener net.Listener, certificate tls.Certificate, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(io.Discard, "", 0), // clients that go away in the handshake
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ServeTLS(listener, "", ""); ctx.Err() == nil {
		return fmt.Errorf("serve echo: %w", err)
	}
	return nil
}
