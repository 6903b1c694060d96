package revocation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// line is the network between two processes, which can be cut, in one direction or both, or be slow.
type line struct {
	*toxiproxy.Proxy
}

func newLine(t *testing.T, name, to string) *line {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &line{Proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", to)}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

// Directions, as seen from who dials.
const (
	outward = "upstream"
	inward  = "downstream"
)

func (l *line) put(kind, direction, attributes string) error {
	_, err := l.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name":"%s-%s","type":%q,"stream":%q,"toxicity":1,"attributes":%s}`, kind, direction, kind, direction, attributes)))
	return err
}

// cut lets nothing through in a direction, and tells nobody.
func (l *line) cut(direction string) error { return l.put("timeout", direction, `{"timeout":0}`) }

// slow makes everything take longer, both ways.
func (l *line) slow() error {
	if err := l.put("latency", outward, `{"latency":200,"jitter":150}`); err != nil {
		return err
	}
	return l.put("latency", inward, `{"latency":200,"jitter":150}`)
}

// mend takes all of it away.
func (l *line) mend() { l.Toxics.ResetToxics(context.Background()) }
