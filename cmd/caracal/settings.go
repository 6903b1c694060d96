package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/dev"
)

// setting is something that the environment of a command decides. Its flag wins over its variable, and that over its
// fallback.
//
// Arguments of a process are for everyone on the machine to read, so that no flag carries a secret: its flag, which ends
// in -file, names a file that holds it, and its variable holds it.
type setting struct {
	flag     string
	variable string
	fallback string
	meaning  string
}

// secret reports whether the variable holds what the flag's file holds.
func (s setting) secret() bool {
	return strings.HasSuffix(s.flag, "-file") && !strings.HasSuffix(s.variable, "_FILE")
}

// The settings of the commands that call a control plane.
func clientSettings() []setting {
	return []setting{
		{"context", "CARACAL_CONTEXT", "", "which of your contexts to use; the one in use unless told"},
		{"url", "CARACAL_URL", "http://127.0.0.1:8080", "the control plane"},
		{"api-key-file", "CARACAL_API_KEY", "", "the key to call it with; \"-\" reads it from standard input"},
		{"workspace", "CARACAL_WORKSPACE", "", "slug of the workspace; the key's own unless told"},
		{"ca-file", "CARACAL_CA_FILE", "", "PEM certificates that the control plane may chain to, beside the system's"},
		{"allow-plain", "CARACAL_ALLOW_PLAIN", "false", "send the key without TLS to an address that is not loopback, in a closed network"},
	}
}

// The settings of `caracal controlplane`.
func controlPlaneSettings() []setting {
	return []setting{
		{"database-url-file", "CARACAL_DATABASE_URL", "", "PostgreSQL, as the role caracal_app"},
		{"listen", "CARACAL_LISTEN", "127.0.0.1:8080", "address of the one port, for REST and gRPC"},
		{"tls-cert", "CARACAL_TLS_CERT", "", "PEM file of the port's certificate chain; plain HTTP without it"},
		{"tls-key", "CARACAL_TLS_KEY", "", "PEM file of the certificate's private key"},
		{"allow-plain", "CARACAL_ALLOW_PLAIN", "false", "listen without TLS on an address that is not loopback, behind a proxy that ends TLS"},
		{"trusted-proxies", "CARACAL_TRUSTED_PROXIES", "", "networks of the proxies and gateways whose X-Forwarded-For says where a request comes from, with commas between; nobody's without it"},
		{"issuer-networks", "CARACAL_ISSUER_NETWORKS", "", "private networks that workspaces may have the keys of their trusted issuers fetched from, with commas between; public addresses only without it"},
		{"master-key-file", "CARACAL_MASTER_KEY_FILE", "", "file with 32 random bytes in base64, which encrypt the private keys in the database"},
		{"setup-key-file", "CARACAL_SETUP_KEY_FILE", "", "file with the key that may create workspaces; nobody can without it"},
		{"redis-url-file", "CARACAL_REDIS_URL", "", "Redis through which replicas share their limits; each process counts for itself without it"},
		{"requests-per-second", "CARACAL_REQUESTS_PER_SECOND", strconv.Itoa(api.DefaultRequestsPerSecond), "how many requests a second one caller may send over time; a workspace, four times as many"},
		{"public-url", "CARACAL_PUBLIC_URL", "", "where browsers reach the control plane, as https://host[:port], or http on loopback; nobody signs in without it"},
		{"oidc-issuer", "CARACAL_OIDC_ISSUER", "", "OpenID provider where people sign in, exactly as it writes itself; one-time links only without it"},
		{"oidc-client-id", "CARACAL_OIDC_CLIENT_ID", "", "the client that the control plane is at the provider"},
		{"oidc-client-secret-file", "CARACAL_OIDC_CLIENT_SECRET_FILE", "", "file with that client's secret; a public client has none"},
		{"oidc-scopes", "CARACAL_OIDC_SCOPES", "profile email", "scopes to ask for beside openid, with spaces between"},
		{"oidc-groups-claim", "CARACAL_OIDC_GROUPS_CLAIM", "groups", "the claim that lists a person's groups"},
		{"oidc-ca-file", "CARACAL_OIDC_CA_FILE", "", "PEM certificates that the provider must chain to; the host's roots without it"},
		{"session-idle", "CARACAL_SESSION_IDLE", "30m", "how long a session lasts that nobody uses, from 1m"},
		{"session-lifetime", "CARACAL_SESSION_LIFETIME", "12h", "how long a session lasts at most, to 168h"},
		{"workspace-grace", "CARACAL_WORKSPACE_GRACE", "720h", "how long a deleted workspace can be restored, from 1h to 8760h; then it is erased"},
		{"quotas", "CARACAL_QUOTAS", "", "limits that replace the defaults, such as principals=50000,keys=100000; docs/workspaces.md lists them"},
		logLevel(),
	}
}

// The settings of `caracal migrate`.
func migrateSettings() []setting {
	return []setting{
		{"database-url-file", "CARACAL_MIGRATE_DATABASE_URL", "", "PostgreSQL, as the role that owns the tables"},
	}
}

// The settings of `caracal gateway`. The first four are all that it needs.
func gatewaySettings() []setting {
	return []setting{
		{"url", "ENTERPRISE_URL", "", "the control plane"},
		{"api-key-file", "ENTERPRISE_API_KEY", "", "the gateway's key"},
		{"workspace", "ENTERPRISE_WORKSPACE", "", "slug of the workspace, which has to be the key's own"},
		{"sync-interval", "ENTERPRISE_SYNC_INTERVAL", "30", "seconds between the looks for a newer state, beside what is pushed"},
		{"ca-file", "ENTERPRISE_CA_FILE", "", "PEM certificates that the control plane must chain to; the host's roots without it"},
		{"listen", "CARACAL_LISTEN", "", "address of the gateway port; 127.0.0.1:8443, or with a certificate 0.0.0.0:8443"},
		{"proxy-listen", "CARACAL_PROXY_LISTEN", "", "address of the proxy port, \"off\" for none; 3128 at the address of the gateway port"},
		{"tls-cert", "CARACAL_TLS_CERT", "", "PEM file of both ports' certificate chain; plain HTTP without it"},
		{"tls-key", "CARACAL_TLS_KEY", "", "PEM file of the certificate's private key"},
		{"extauthz-listen", "CARACAL_EXTAUTHZ_LISTEN", "", "address where an Envoy of yours asks for decisions, over mutual TLS; nowhere without it"},
		{"extauthz-cert", "CARACAL_EXTAUTHZ_CERT", "", "PEM file of the certificate chain that it is shown there"},
		{"extauthz-key", "CARACAL_EXTAUTHZ_KEY", "", "PEM file of that certificate's private key"},
		{"extauthz-client-ca", "CARACAL_EXTAUTHZ_CLIENT_CA", "", "PEM certificates that its own certificate must chain to"},
		{"allow-plain", "CARACAL_ALLOW_PLAIN", "false", "carry keys and tokens without TLS beyond loopback, in a closed network"},
		{"instance", "CARACAL_INSTANCE", "", "name under which people see this gateway, as of its last start; the host's name without it"},
		{"state-dir", "CARACAL_STATE_DIR", "", "directory of the kept bundle; /var/lib/caracal/gateway, or for a plain user below XDG_STATE_HOME"},
		{"credentials-dir", "CARACAL_CREDENTIALS_DIR", "", "directory of the secrets that destinations name, a file each; of client certificates two, NAME.crt and NAME.key"},
		{"roots-file", "CARACAL_ROOTS_FILE", "", "PEM certificates that public upstreams must chain to; the host's without it"},
		{"dns-resolvers", "CARACAL_DNS_RESOLVERS", "", "DNS servers for upstream names, as address[:port], separated by commas; the host's without it"},
		{"envoy", "CARACAL_ENVOY", "", "Envoy binary to run; the pinned one, fetched when needed, without it"},
		{"own-envoy", "CARACAL_OWN_ENVOY", "false", "start no Envoy: you run it with the bootstrap file that the gateway writes"},
		logLevel(),
	}
}

// The settings of `caracal dev`.
func devSettings() []setting {
	return []setting{
		{"control-port", dev.ControlPortSetting, "8080", "port of the control plane on 127.0.0.1"},
		{"gateway-port", dev.GatewayPortSetting, "8443", "port of the gateway on 127.0.0.1"},
		{"proxy-port", dev.ProxyPortSetting, "3128", "proxy port of the gateway on 127.0.0.1"},
		{"gateways", "CARACAL_DEV_GATEWAYS", "1", "number of gateways, on ports from the gateway port and the proxy port on"},
		{"upstream-port", dev.UpstreamPortSetting, "9443", "port of the echo upstream on 127.0.0.1"},
		{"state-dir", "CARACAL_STATE_DIR", "", "directory of the database, keys and logs; .caracal in the project without it"},
		{"database-url-file", "CARACAL_DATABASE_URL", "", "PostgreSQL from version 15, as a superuser; a private one without it"},
	}
}

func logLevel() setting {
	return setting{"log-level", "CARACAL_LOG_LEVEL", "info", "debug, info, warn or error"}
}

// values answers what the settings of a command are.
type values struct {
	*program
	command  *cobra.Command
	settings []setting
}

// bind gives a command the flags of its settings, and its help their table.
func (p *program) bind(c *cobra.Command, settings []setting) *values {
	for _, s := range settings {
		s.define(c.Flags().Bool, c.Flags().String)
	}
	return &values{p, c, settings}
}

// define makes the setting's flag.
func (s setting) define(newBool func(string, bool, string) *bool, newText func(string, string, string) *string) {
	switch {
	case s.fallback == "false":
		newBool(s.flag, false, s.meaning+" ["+s.variable+"]")
	case s.secret():
		newText(s.flag, "", "file that holds "+s.meaning+" ["+s.variable+" holds it itself]")
	default:
		newText(s.flag, s.fallback, s.meaning+" ["+s.variable+"]")
	}
}

func (v *values) of(flag string) setting {
	for _, s := range v.settings {
		if s.flag == flag {
			return s
		}
	}
	panic("no setting --" + flag)
}

// flagged is the value of a setting's flag, if the command line has it.
func (v *values) flagged(flag string) (string, bool) {
	f := v.command.Flag(flag)
	return f.Value.String(), f.Changed
}

// text is the value of a setting that is no secret.
func (v *values) text(flag string) string {
	s := v.of(flag)
	if value, ok := v.flagged(flag); ok {
		return value
	}
	return cmp.Or(v.getenv(s.variable), s.fallback)
}

// required is the value of a setting that has to be there.
func (v *values) required(flag string) (string, error) {
	s, value, err := v.of(flag), "", error(nil)
	if s.secret() {
		value, err = v.secret(flag)
	} else {
		value = v.text(flag)
	}
	if value == "" && err == nil {
		err = &usageError{fmt.Sprintf("set %s or --%s: %s", s.variable, s.flag, s.meaning)}
	}
	return value, err
}

func (v *values) boolean(flag string) (bool, error) {
	value, err := strconv.ParseBool(v.text(flag))
	if err != nil {
		s := v.of(flag)
		return false, &usageError{fmt.Sprintf("%s must be true or false", s.variable)}
	}
	return value, nil
}

// networks are the prefixes and addresses of a list with commas between them.
func (v *values) networks(flag string) ([]netip.Prefix, error) {
	listed := v.text(flag)
	if listed == "" {
		return nil, nil
	}
	parts := strings.Split(listed, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	networks, err := authority.ParseNetworks(parts)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("%s: %v", v.of(flag).variable, err)}
	}
	return networks, nil
}

// file is the content of the file that a setting names, or of standard input for "-"; nil where it names none.
func (v *values) file(flag string) ([]byte, error) {
	s := v.of(flag)
	path, named := v.flagged(flag)
	if !named && !s.secret() {
		path = v.text(flag)
	}
	if path == "" {
		return nil, nil
	}
	content, err := v.readFile(path)
	if err != nil {
		if named {
			return nil, fmt.Errorf("reading --%s: %w", flag, err)
		}
		return nil, fmt.Errorf("reading %s: %w", s.variable, err)
	}
	return content, nil
}

// secret is the one line of a secret: of the file that names it, or the variable that holds it; empty where neither is set.
func (v *values) secret(flag string) (string, error) {
	s := v.of(flag)
	content, err := v.file(flag)
	if _, named := v.flagged(flag); err != nil || named || !s.secret() {
		return strings.TrimSpace(string(content)), err
	}
	return v.getenv(s.variable), nil
}
