package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// downloadSize is how many bytes one download has.
const downloadSize = 128 << 20

// carried is what one download took.
type carried struct{ took time.Duration }

func (c carried) rate() float64 { return downloadSize / c.took.Seconds() / 1e6 }

// throughput prints how fast one connection downloads over TLS: without a proxy, and on the roads that have tunnels.
func (p *proxying) throughput(ctx context.Context, out io.Writer) error {
	all := []struct {
		name string
		open func() (net.Conn, error)
	}{
		{"without a proxy", func() (net.Conn, error) {
			direct := tls.Dialer{Config: &tls.Config{ServerName: opaqueHost, RootCAs: p.origin.roots}}
			return direct.DialContext(ctx, "tcp", p.origin.secure.Listener.Addr().String())
		}},
		{"Envoy, in a tunnel", func() (net.Conn, error) { return p.plain.secure(opaqueHost) }},
		{"in a tunnel", func() (net.Conn, error) { return p.ours.secure(opaqueHost) }},
		{"Envoy, inspected", func() (net.Conn, error) { return p.plain.secure(inspectedHost) }},
		{"inspected", func() (net.Conn, error) { return p.ours.secure(inspectedHost) }},
	}
	found := make([][]carried, len(all))
	for range p.rounds {
		for i, way := range all {
			took, err := download(way.open)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			found[i] = append(found[i], carried{took})
		}
	}
	fmt.Fprintf(out, "\none download of %d MiB over TLS, medians of %d rounds (least to most)\n\n", downloadSize>>20, p.rounds)
	fmt.Fprintln(out, "| way | MB/s | against none | against Envoy |\n|---|---|---|---|")
	bases := []int{0, 0, 1, 0, 3}
	for i, way := range all {
		against := "" // the plain Envoy has none but the direct way
		if bases[i] != 0 {
			against = ratio(found[i], found[bases[i]], carried.rate)
		}
		fmt.Fprintf(out, "| %s | %.0f | %s | %s |\n", way.name, middle(found[i], carried.rate), ratio(found[i], found[0], carried.rate), against)
	}
	return nil
}

func download(open func() (net.Conn, error)) (time.Duration, error) {
	c, err := open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	w := newWire(c, "")
	host := inspectedHost
	if inside, ok := c.(*tls.Conn); ok {
		host = inside.ConnectionState().ServerName
	}
	began := time.Now()
	size, err := w.fetch(fmt.Appendf(nil, "GET /bytes/%d HTTP/1.1\r\nHost: %s\r\n\r\n", downloadSize, host))
	if err == nil && size != downloadSize {
		err = fmt.Errorf("%d bytes came", size)
	}
	return time.Since(began), err
}
