package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// proxying is a gateway and a plain Envoy before the same upstreams, and how clients take them for their proxy.
type proxying struct {
	*ways
	origin  *origin
	gateway string // address of the gateway port
	ours    tunnel
	plain   tunnel
	with    processes // of the gateway
	alone   processes
	agent   call // who asks, and within which mandate

	rounds      int
	connections int
	lasting     time.Duration
}

// part is one of the things that are measured about the proxy port.
type part struct {
	name string
	run  func(p *proxying, ctx context.Context, out io.Writer) error
}

func parts() []part {
	return []part{
		{"modes", (*proxying).modes}, {"throughput", (*proxying).throughput},
		{"mint", (*proxying).mint}, {"tunnels", (*proxying).tunnels},
	}
}

// throughProxy compares each way through a gateway with a plain Envoy that does the same and asks nobody.
func throughProxy(ctx context.Context, out io.Writer, arguments []string) error {
	flags := flag.NewFlagSet("proxy", flag.ContinueOnError)
	caracal := flags.String("caracal", "bin/caracal", "the program")
	p := &proxying{}
	flags.IntVar(&p.rounds, "rounds", 3, "how often each way is measured")
	flags.IntVar(&p.connections, "connections", 8, "how many connections make requests at once")
	flags.DurationVar(&p.lasting, "for", 2*time.Second, "how long one measurement lasts")
	chosen := flags.String("parts", "modes,throughput,mint,tunnels", "what is measured")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	names := strings.Split(*chosen, ",")
	s, err := openSite(ctx, *caracal)
	if err != nil {
		return err
	}
	defer s.close()
	p.ways = &ways{site: s}
	defer p.close()
	if err := p.open(ctx, *caracal); err != nil {
		return s.explain(err)
	}
	for _, part := range parts() {
		if !slices.Contains(names, part.name) {
			continue
		}
		if err := part.run(p, ctx, out); err != nil {
			return s.explain(fmt.Errorf("%s: %w", part.name, err))
		}
	}
	return nil
}

func (p *proxying) open(ctx context.Context, caracal string) error {
	if err := p.openPlain(ctx); err != nil {
		return err
	}
	if err := p.allow(ctx); err != nil {
		return err
	}
	if err := p.openGateway(ctx, caracal); err != nil {
		return err
	}
	for _, r := range p.roads() {
		if err := r.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openPlain starts the upstreams and the plain Envoy before them.
func (p *proxying) openPlain(ctx context.Context) error {
	var err error
	if err := p.provide(ctx); err != nil {
		return err
	}
	if p.origin, err = newOrigin(); err != nil {
		return err
	}
	p.closers = append(p.closers, p.origin.close)
	if p.plain.proxy, err = freeAddress(ctx); err != nil {
		return err
	}
	p.plain.roots = p.origin.roots
	config := p.site.file("plain.yaml")
	if err := plainEnvoy(config, p.plain.proxy, p.origin); err != nil {
		return err
	}
	p.alone.envoy, err = p.startEnvoy(ctx, config)
	return err
}

func (p *proxying) openGateway(ctx context.Context, caracal string) (err error) {
	if p.gateway, err = freeAddress(ctx); err != nil {
		return err
	}
	if p.ours.proxy, err = freeAddress(ctx); err != nil {
		return err
	}
	g, err := p.site.startGateway(ctx, caracal, "gateway", p.gateway, "CARACAL_PROXY_LISTEN="+p.ours.proxy)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, g.stop)
	config := filepath.Join(g.dir, "envoy.json")
	if err := awaitFile(ctx, config); err != nil {
		return err
	}
	p.with.service = g.command.Process.Pid
	if p.with.envoy, err = p.startEnvoy(ctx, config); err != nil {
		return err
	}
	return p.site.inSync(ctx, 1)
}

// allow makes the destinations, and a mandate of the agent's to reach them.
func (p *proxying) allow(ctx context.Context) error {
	for host, tunnel := range map[string]authority.Tunnel{
		plainHost: authority.TunnelRefuse, opaqueHost: authority.TunnelPassthrough, inspectedHost: authority.TunnelInspect,
	} {
		d := authority.Destination{
			Name: strings.ReplaceAll(host, ".", "-"), Host: host, Ports: []uint16{443}, TLS: authority.TLSRequired, CA: p.origin.ca.PEM(),
			ConnectTo: p.origin.secure.Listener.Addr().String(), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			EncodedSlash: authority.EncodedSlashRefuse, Tunnel: tunnel,
			Rules: []authority.Rule{{Path: "/**", Methods: map[string]authority.Action{"GET": authority.Read}, Resource: "api:tools/search"}},
		}
		if host == plainHost {
			d.Ports, d.TLS, d.CA, d.ConnectTo = []uint16{80}, authority.TLSNone, "", p.origin.plain.Listener.Addr().String()
			d.BasePath, d.MaxDurationSeconds = "plain", 0
		}
		if _, err := p.site.owner.CreateDestination(ctx, d); err != nil {
			return fmt.Errorf("destination %s: %w", host, err)
		}
	}
	if _, err := p.site.owner.CreatePolicy(ctx, client.NewPolicy{
		PrincipalID: p.site.agentID, AllowedResources: []string{"tunnel:*", "host:*"}, AllowedActions: []string{"*"}, MaxValiditySeconds: 86400,
	}); err != nil {
		return err
	}
	var err error
	if p.agent, err = p.site.call(ctx); err != nil {
		return err
	}
	if _, err := p.tunnelMandate(ctx); err != nil { // beside the one for requests: which of them counts is selected
		return err
	}
	p.ours.credentials = p.basic("-")
	as, err := client.New(client.Config{URL: p.site.url, Key: p.site.agentKey, Workspace: slug})
	if err != nil {
		return err
	}
	root, err := as.InspectionCA(ctx)
	if err != nil {
		return err
	}
	p.ours.roots = x509.NewCertPool()
	p.ours.roots.AppendCertsFromPEM([]byte(root.Certificate))
	p.ours.roots.AppendCertsFromPEM([]byte(p.origin.ca.PEM())) // of what is carried unseen
	return nil
}

// tunnelMandate gives the agent one for tunnels, and for hosts that no destination names.
func (p *proxying) tunnelMandate(ctx context.Context) (authority.MandateID, error) {
	m, err := p.site.owner.IssueMandate(ctx, client.MandateRequest{
		IssuerID: p.site.ownerID, SubjectID: p.site.agentID, ResourceScope: []string{"tunnel:*", "host:*"}, ActionScope: []string{"*"}, ValiditySeconds: 3600,
	})
	return m.ID, err
}

// basic is the header's line with a mandate, or `-` where one is to be selected.
func (p *proxying) basic(mandate authority.MandateID) string {
	return basicLine(string(mandate), p.agent.Token)
}

func basicLine(mandate, token string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(mandate+":"+token)) + "\r\n"
}

// The roads of the plain Envoy, by their numbers.
const (
	baseForward = iota
	baseOpaque
	baseInspected
	baseInspectedHTTP2
	baseSetUp
	ownRoads // the first of the gateway's
)

// roads are the plain Envoy's first, then the gateway's.
func (p *proxying) roads() []road {
	absolute := "GET http://" + plainHost + "/item HTTP/1.1\r\nHost: " + plainHost + "\r\n"
	own := p.agent
	own.URL = "http://" + plainHost + "/item"
	api := string(own.encoded())
	reverse := "GET /r/plain/item HTTP/1.1\r\nHost: localhost:8443\r\nAuthorization: Bearer " + own.Token + "\r\n\r\n"
	plain, ours := p.plain, p.ours
	return []road{
		{"Envoy, forward", baseForward, p.alone, dialWire(plain.proxy, absolute+"\r\n"), false, new(atomic.Int64)},
		{"Envoy, in a tunnel", baseOpaque, p.alone, plain.kept(opaqueHost), false, new(atomic.Int64)},
		{"Envoy, inspected", baseInspected, p.alone, plain.kept(inspectedHost), false, new(atomic.Int64)},
		{"Envoy, inspected, HTTP/2", baseInspectedHTTP2, p.alone, plain.keptHTTP2(inspectedHost), false, new(atomic.Int64)},
		{"Envoy, opening a tunnel", baseSetUp, p.alone, plain.emptied(opaqueHost), true, new(atomic.Int64)},
		{"`/api/proxy`", baseForward, p.with, dialWire(p.gateway, api), false, new(atomic.Int64)},
		{"reverse route", baseForward, p.with, dialWire(p.gateway, reverse), false, new(atomic.Int64)},
		{"forward", baseForward, p.with, dialWire(ours.proxy, absolute+ours.credentials+"\r\n"), false, new(atomic.Int64)},
		{"in a tunnel", baseOpaque, p.with, ours.kept(opaqueHost), false, new(atomic.Int64)},
		{"inspected", baseInspected, p.with, ours.kept(inspectedHost), false, new(atomic.Int64)},
		{"inspected, HTTP/2", baseInspectedHTTP2, p.with, ours.keptHTTP2(inspectedHost), false, new(atomic.Int64)},
		{"opening a tunnel", baseSetUp, p.with, ours.emptied(opaqueHost), true, new(atomic.Int64)},
	}
}

// ready waits until a road leads to the upstream.
func (r road) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, err := r.open()
		if err == nil {
			err = one.request()
			_ = one.Close() // it was asked what it was opened for
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", r.name, err)
		}
	}
}

// modes prints what a request costs on each road.
func (p *proxying) modes(ctx context.Context, out io.Writer) error {
	roads := p.roads()
	found := make([][]travelled, len(roads))
	for range p.rounds {
		for i, r := range roads {
			t, err := r.travel(p.connections, p.lasting)
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			found[i] = append(found[i], t)
		}
	}
	fmt.Fprintf(out, "\n%d connections, medians of %d rounds of %s; (least to most of the rounds)\n\n", p.connections, p.rounds, p.lasting)
	fmt.Fprintln(out, "| way | a second | against Envoy | p50 | p50 against Envoy | p99 against Envoy | CPU of one: Envoy | against Envoy | gateway | refused for lack of time |\n|---|---|---|---|---|---|---|---|---|---|")
	for i, r := range roads {
		base, own := found[r.base], found[i]
		fmt.Fprintf(out, "| %s | %.0f | %s | %s | %s | %s | %s | %s | %s | %d |\n", r.name, middle(own, travelled.rate), ratio(own, base, travelled.rate),
			time.Duration(middle(own, travelled.median)).Round(10*time.Microsecond), ratio(own, base, travelled.median), ratio(own, base, travelled.slow),
			time.Duration(middle(own, travelled.envoyEach)).Round(time.Microsecond), ratio(own, base, travelled.envoyEach),
			time.Duration(middle(own, travelled.serviceEach)).Round(time.Microsecond), r.again.Load())
	}
	return nil
}

func (t travelled) rate() float64        { return t.measured.rate() }
func (t travelled) median() float64      { return float64(t.quantile(0.50)) }
func (t travelled) slow() float64        { return float64(t.quantile(0.99)) }
func (t travelled) envoyEach() float64   { return float64(t.envoy) / float64(t.decisions) }
func (t travelled) serviceEach() float64 { return float64(t.cpu) / float64(t.decisions) }

// ratio compares round by round: the median, and the least and most.
func ratio[T any](own, base []T, of func(T) float64) string {
	all := make([]float64, len(own))
	for i := range own {
		all[i] = of(own[i]) / of(base[i])
	}
	slices.Sort(all)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", all[len(all)/2], all[0], all[len(all)-1])
}
