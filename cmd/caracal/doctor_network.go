package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/client"
)

const (
	lookTimeout = 10 * time.Second
	// A clock may be off by what nobody notices; beyond the second bound mandates and tokens are misjudged.
	skewNoticed = 5 * time.Second
	skewHarmful = time.Minute
	// expirySoon is when the end of a key or a certificate should be thought of.
	expirySoon = 7 * day
)

// network looks at the name, the connection and TLS, each by itself.
func (x *examination) network(ctx context.Context) bool {
	u, err := url.Parse(x.target.url)
	if err != nil {
		x.failed("address", err.Error(), "set CARACAL_URL to https://host[:port]")
		return false
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil {
		x.failed("proxy", err.Error(), "mend HTTPS_PROXY or HTTP_PROXY, or take the host out by NO_PROXY")
		return false
	}
	if proxy != nil {
		x.found("proxy", "calls go through %s; the name and the connection are its business", proxy.Redacted())
		return true
	}
	return x.name(ctx, u.Hostname()) && x.connection(ctx, u)
}

func (x *examination) name(ctx context.Context, host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := (&net.Resolver{}).LookupHost(ctx, host)
	if err != nil {
		x.failed("name", err.Error(), "see that "+host+" is spelled right, and that this machine's name servers know it")
		return false
	}
	x.found("name", "%s is %s", host, strings.Join(found, ", "))
	return true
}

func (x *examination) connection(ctx context.Context, u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		next := "see that no firewall is in the way"
		if strings.Contains(err.Error(), "refused") {
			next = "see that the control plane runs (its log says `control plane listens`), and on this port"
		}
		x.failed("connection", err.Error(), next)
		return false
	}
	defer conn.Close()
	x.found("connection", "%s answers", conn.RemoteAddr())
	if u.Scheme == "http" {
		if x.target.allowPlain {
			x.warned("encryption", "the key travels without TLS, as CARACAL_ALLOW_PLAIN allows", "use https beyond a closed network")
		}
		return true
	}
	return x.encryption(ctx, conn, u.Hostname())
}

func (x *examination) encryption(ctx context.Context, conn net.Conn, host string) bool {
	config, err := client.TLSConfig(x.target.ca)
	if err != nil {
		x.failed("encryption", err.Error(), "set CARACAL_CA_FILE to a file of PEM certificates")
		return false
	}
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		x.failed("encryption", err.Error(), afterHandshake(err, host))
		return false
	}
	leaf := secure.ConnectionState().PeerCertificates[0]
	if left := leaf.NotAfter.Sub(x.now()); left < expirySoon {
		x.warned("encryption", "the server's certificate ends "+relative(leaf.NotAfter, x.now()), "let the control plane have a new one")
		return true
	}
	x.found("encryption", "the certificate is for %s and ends %s", host, relative(leaf.NotAfter, x.now()))
	return true
}

func afterHandshake(err error, host string) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		noTLS   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return "set CARACAL_CA_FILE to the certificates that the control plane's chains to"
	case errors.As(err, &name):
		return "call the control plane by a name that its certificate has, or give it one for " + host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "see that this machine's clock is right; if it is, the control plane needs a new certificate"
	case errors.As(err, &noTLS):
		return "the server speaks no TLS there: use http:// on this machine, or give it CARACAL_TLS_CERT and CARACAL_TLS_KEY"
	}
	return "see that nothing between here and the control plane ends TLS"
}

// server looks at whether it is a control plane, whether it can work, and at its clock.
func (x *examination) server(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	health, err := x.client.Probe(ctx, "/health")
	if err != nil {
		x.failed("server", err.Error(), "see that a control plane, and nothing else, listens there")
		return false
	}
	var said struct {
		client.Health
		Gateway json.RawMessage `json:"enterprise_sync"`
	}
	if health.Status != http.StatusOK || json.Unmarshal(health.Body, &said) != nil || said.Status == "" {
		x.failed("server", fmt.Sprintf("GET /health answered %d and not what a control plane says: %.60q", health.Status, health.Body), otherServer(health))
		return false
	}
	if said.Gateway != nil {
		x.failed("server", "this is a gateway", "set CARACAL_URL to the control plane; `caracal doctor --gateway` looks at a gateway")
		return false
	}
	if r := said.Restored; r != nil {
		x.failed("database", restoredDetail(*r), "run `caracal controlplane accept-restore` where the control plane runs")
		if r.Since != nil {
			return false
		}
	}
	if said.Status != "ok" {
		x.failed("server", fmt.Sprintf("the control plane is %s, its database %s", said.Status, said.Database), "look into the control plane's log; GET /ready says more")
		return false
	}
	x.found("server", "a control plane%s, and its database is %s", before(" ", said.Version), said.Database)
	x.clock(health.Skew)
	return true
}

func before(lead, s string) string {
	if s == "" {
		return ""
	}
	return lead + s
}

func otherServer(p client.Probed) string {
	if p.Status == http.StatusBadRequest && strings.Contains(string(p.Body), "HTTPS") {
		return "the server wants TLS: write https:// in CARACAL_URL"
	}
	return "see that CARACAL_URL is the control plane's address, and no proxy answers for it"
}

func (x *examination) clock(skew time.Duration) {
	ahead := "ahead of"
	if skew < 0 {
		ahead = "behind"
	}
	detail := fmt.Sprintf("the server's clock is %s %s this machine's", duration(skew.Abs()), ahead)
	const next = "let both machines keep time by NTP: what begins or ends now is judged by the server's clock"
	switch {
	case skew.Abs() >= skewHarmful:
		x.failed("clock", detail, next)
	case skew.Abs() >= skewNoticed:
		x.warned("clock", detail, next)
	default:
		x.found("clock", "the server's and this machine's agree")
	}
}
