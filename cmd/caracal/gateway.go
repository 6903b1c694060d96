package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/gateway"
	"github.com/caracal-gateway/caracal/provision"
	"github.com/caracal-gateway/caracal/token"
)

// version is the program's, told to the control plane and to people.
const version = "0.1.0"

// proxyPort is the number of the proxy port where nothing else is said: the usual one of proxies.
const proxyPort = 3128

// maxSyncInterval keeps a gateway from looking so rarely that its clock is left to itself.
const maxSyncInterval = time.Hour

func (p *program) gateway() *cobra.Command {
	c := &cobra.Command{Use: "gateway", Short: "Run a gateway: an Envoy and the decisions that it asks for", Args: unknownVerb}
	c.AddCommand(p.gatewayVerbs()...)
	settings := p.bind(c, gatewaySettings())
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := p.gatewayConfig(cmd.Context(), settings)
		if err != nil {
			return err
		}
		return gateway.Run(cmd.Context(), config)
	}
	return c
}

func (p *program) gatewayConfig(ctx context.Context, settings *values) (gateway.Config, error) {
	c := gateway.Config{Version: version, Credentials: extauthz.NewCredentials(settings.text("credentials-dir"), lookUp(p.getenv))}
	var err error
	if c.Log, err = p.logger(settings); err != nil {
		return c, err
	}
	for _, read := range []func(*values, *gateway.Config) error{readControl, readPorts, readForeign, p.readPlace} {
		if err := read(settings, &c); err != nil {
			return c, err
		}
	}
	c.EnvoyPath, err = p.envoyPath(ctx, settings)
	return c, err
}

// lookUp tells whether a variable is set, by its not being empty.
func lookUp(getenv func(string) string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value := getenv(name)
		return value, value != ""
	}
}

// readControl reads which control plane the gateway belongs to.
func readControl(settings *values, c *gateway.Config) error {
	address, err := settings.required("url")
	if err != nil {
		return err
	}
	if c.Control, err = url.Parse(address); err != nil || c.Control.Host == "" || c.Control.User != nil {
		return &usageError{"ENTERPRISE_URL is not of the form https://host[:port]"}
	}
	key, err := settings.required("api-key-file")
	if err != nil {
		return err
	}
	if c.Key, err = token.ParseAPIKey(key); err != nil || c.Key.Kind != authority.KeyGateway {
		return &usageError{"ENTERPRISE_API_KEY is not the key of a gateway: an owner makes one with `caracal key create --kind gateway`"}
	}
	if c.Workspace, err = settings.required("workspace"); err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(settings.text("sync-interval"), 64)
	c.Interval = time.Duration(seconds * float64(time.Second))
	if err != nil || c.Interval < time.Second || c.Interval > maxSyncInterval {
		return &usageError{fmt.Sprintf("ENTERPRISE_SYNC_INTERVAL has to be a number of seconds from 1 to %.0f", maxSyncInterval.Seconds())}
	}
	if c.AllowPlain, err = settings.boolean("allow-plain"); err != nil {
		return err
	}
	c.ControlCA, err = settings.file("ca-file")
	return err
}

// readPorts reads where the gateway listens. Tokens travel through its ports, so that without a certificate they are for
// this machine only, unless told otherwise.
func readPorts(settings *values, c *gateway.Config) error {
	if err := readCertificate(settings, c); err != nil {
		return err
	}
	address := settings.text("listen")
	switch {
	case address != "":
	case c.Certificate != nil:
		address = "0.0.0.0:8443"
	default:
		address = "127.0.0.1:8443"
	}
	var err error
	if c.Listen, err = portAt("CARACAL_LISTEN", address, c); err != nil {
		return err
	}
	if err := readProxyPort(settings, c); err != nil {
		return err
	}
	for _, text := range strings.FieldsFunc(settings.text("dns-resolvers"), func(r rune) bool { return r == ',' || r == ' ' }) {
		resolver, err := resolverOf(text)
		if err != nil {
			return err
		}
		c.Resolvers = append(c.Resolvers, resolver)
	}
	return nil
}

func readCertificate(settings *values, c *gateway.Config) error {
	var err error
	if c.Certificate, err = settings.file("tls-cert"); err != nil {
		return err
	}
	if c.PrivateKey, err = settings.file("tls-key"); err != nil {
		return err
	}
	if (c.Certificate == nil) != (c.PrivateKey == nil) {
		return &usageError{"set both of CARACAL_TLS_CERT and CARACAL_TLS_KEY, or neither"}
	}
	if c.Certificate != nil {
		if _, err := tls.X509KeyPair(c.Certificate, c.PrivateKey); err != nil {
			return fmt.Errorf("reading CARACAL_TLS_CERT and CARACAL_TLS_KEY: %w", err)
		}
	}
	return nil
}

// readProxyPort reads where the gateway listens for clients that use it as their proxy.
func readProxyPort(settings *values, c *gateway.Config) error {
	c.ProxyPlain = c.AllowPlain
	address := settings.text("proxy-listen")
	switch address {
	case "off":
		return nil
	case "":
		c.ProxyListen = netip.AddrPortFrom(c.Listen.Addr(), proxyPort)
	default:
		var err error
		if c.ProxyListen, err = portAt("CARACAL_PROXY_LISTEN", address, c); err != nil {
			return err
		}
	}
	if c.ProxyListen.Port() == c.Listen.Port() {
		return &usageError{fmt.Sprintf("the gateway port and the proxy port are both %d: change one with CARACAL_LISTEN or CARACAL_PROXY_LISTEN", c.Listen.Port())}
	}
	return nil
}

// portAt reads the address of a port, which is one that tokens may travel to.
func portAt(variable, address string, c *gateway.Config) (netip.AddrPort, error) {
	port, err := netip.ParseAddrPort(address)
	if err != nil {
		return port, &usageError{fmt.Sprintf("%s %q is not of the form address:port with a literal address", variable, address)}
	}
	if c.Certificate == nil && !c.AllowPlain && !port.Addr().IsLoopback() {
		return port, &usageError{fmt.Sprintf("%s %q would carry tokens unencrypted: set CARACAL_TLS_CERT and CARACAL_TLS_KEY, or CARACAL_ALLOW_PLAIN=true in a closed network", variable, address)}
	}
	return port, nil
}

func resolverOf(text string) (netip.AddrPort, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(address, 53), nil
	}
	resolver, err := netip.ParseAddrPort(text)
	if err != nil {
		return resolver, &usageError{fmt.Sprintf("CARACAL_DNS_RESOLVERS: %q is not an address or address:port", text)}
	}
	return resolver, nil
}

// readPlace reads what is the host's own: its name, its roots, and where the gateway keeps its state.
func (p *program) readPlace(settings *values, c *gateway.Config) error {
	var err error
	if c.Instance = settings.text("instance"); c.Instance == "" {
		if c.Instance, err = os.Hostname(); err != nil {
			return fmt.Errorf("find the host's name: %w", err)
		}
	}
	if c.Roots, err = publicRoots(settings); err != nil {
		return err
	}
	c.StateDir, err = p.stateDir(settings)
	return err
}

// hostRoots are where distributions keep the public roots, in the order in which they are looked for.
func hostRoots() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

func publicRoots(settings *values) ([]byte, error) {
	roots, err := settings.file("roots-file")
	if err != nil || roots != nil {
		return roots, err
	}
	for _, path := range hostRoots() {
		if roots, err = os.ReadFile(path); err == nil {
			return roots, nil
		}
	}
	return nil, &usageError{"this host has no file with the public roots: install ca-certificates, or set CARACAL_ROOTS_FILE"}
}

func (p *program) stateDir(settings *values) (string, error) {
	if dir := settings.text("state-dir"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Getuid() == 0 {
		return "/var/lib/caracal/gateway", nil
	}
	if state := p.getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "caracal", "gateway"), nil
	}
	home := p.getenv("HOME")
	if home == "" {
		return "", &usageError{"set CARACAL_STATE_DIR: there is no home directory to keep the gateway's state in"}
	}
	return filepath.Join(home, ".local", "state", "caracal", "gateway"), nil
}

// envoyPath finds the Envoy to run: the one that is named, else the pinned one. Empty means that the operator runs one.
func (p *program) envoyPath(ctx context.Context, settings *values) (string, error) {
	own, err := settings.boolean("own-envoy")
	if err != nil || own {
		return "", err
	}
	config := provision.Config{Progress: p.stderr, Getenv: func(name string) string {
		if name == settings.of("envoy").variable {
			return settings.text("envoy")
		}
		return p.getenv(name)
	}}
	if settings.text("envoy") == "" { // a host with an Envoy of its own needs no place for ours
		if config.CacheDir, err = provision.CacheDir(p.getenv, os.Getuid()); err != nil {
			return "", err
		}
	}
	return provision.Envoy(ctx, config)
}

// portOf reads the number of a port from a setting.
func portOf(settings *values, flag string) (int, error) {
	port, err := strconv.ParseUint(settings.text(flag), 10, 16)
	if err != nil || port == 0 {
		return 0, &usageError{fmt.Sprintf("%s has to be the number of a port", settings.of(flag).variable)}
	}
	return int(port), nil
}
