package abuse_test

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caracal-gateway/caracal/internal/abuse"
)

// send2 sends a message as one HTTP/2 stream, frame by frame, so that nothing in between can mend it. A stream that
// Envoy resets without an answer is told as such.
func (f *front) send2(t *testing.T, m abuse.Message, _ bool) reply {
	t.Helper()
	connection := f.connect(t)
	if _, err := connection.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	write := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(framer.WriteSettings())
	pseudo := []abuse.Field{{Name: ":method", Value: m.Method}, {Name: ":scheme", Value: "http"}}
	if m.Host != "" {
		pseudo = append(pseudo, abuse.Field{Name: ":authority", Value: m.Host})
	}
	if m.Path != "none" {
		pseudo = append(pseudo, abuse.Field{Name: ":path", Value: m.Path})
	}
	bodyless := m.Body == "" && len(m.Trailers) == 0
	write(framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block(t, append(pseudo, m.Fields()...)), EndHeaders: true, EndStream: bodyless,
	}))
	if !bodyless {
		write(framer.WriteData(1, len(m.Trailers) == 0, []byte(m.Body)))
	}
	if len(m.Trailers) > 0 {
		write(framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: block(t, abuse.Message{Lines: m.Trailers}.Fields()), EndHeaders: true, EndStream: true,
		}))
	}
	return readStream(t, framer)
}

func block(t *testing.T, fields []abuse.Field) []byte {
	t.Helper()
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field.Name, Value: field.Value}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// readStream reads frames until the stream is over.
func readStream(t *testing.T, framer *http2.Framer) reply {
	t.Helper()
	header, status := http.Header{}, 0
	var body bytes.Buffer
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			var torn http2.ConnectionError
			if errors.As(err, &torn) || strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset") {
				return reply{reset: true}
			}
			t.Fatalf("read answer: %v", err)
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return reply{reset: true}
				}
			}
		case *http2.MetaHeadersFrame:
			if status, err = strconv.Atoi(frame.PseudoValue("status")); err != nil {
				t.Fatal(err)
			}
			for _, field := range frame.RegularFields() {
				header.Add(field.Name, field.Value)
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			body.Write(frame.Data())
			ended = frame.StreamEnded()
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			ended = true
		}
		if ended {
			if status == 0 {
				return reply{reset: true}
			}
			return told(t, status, header, body.Bytes())
		}
	}
}
