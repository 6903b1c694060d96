// Package launch starts a program whose traffic is governed: it gives it the variables and files by which clients find a proxy
// and believe what its gateway mints, takes from it what is not its own, and stands between it and its terminal until it ends.
//
// What does not look at these variables, or overrides them, is not governed by them. Only a network that lets nothing past
// the gateway is a boundary.
package launch

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Surroundings are what a governed program finds around it.
type Surroundings struct {
	// Proxy is the gateway's proxy port, as http or https without user and path.
	Proxy *url.URL
	// Mandate and Token are what the program shows the proxy. The token is a secret.
	Mandate, Token string
	// Gateway is the URL of the gateway port; empty where it has none.
	Gateway string
	// Ungoverned are the hosts that the program reaches without the proxy, as NO_PROXY lists them; empty for none.
	Ungoverned string
	// Secrets are what no variable of the program may hold, such as the key of whoever starts it.
	Secrets []string
	// Files are those that [Write] made.
	Files Files
}

// ours begins the names of variables that are settings of this program and of gateways.
func ours(name string) bool {
	return strings.HasPrefix(name, "CARACAL_") || strings.HasPrefix(name, "ENTERPRISE_")
}

// superseded are variables that would lead clients past the proxy, or to certificates other than those of Files.
func superseded(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy", "grpc_proxy", "no_grpc_proxy",
		"npm_config_proxy", "npm_config_https_proxy", "npm_config_noproxy", "npm_config_cafile", "npm_config_ca",
		"pip_proxy", "pip_cert", "cargo_http_proxy", "cargo_http_cainfo", "ssl_cert_file", "ssl_cert_dir":
		return true
	}
	return false
}

// Environment is the environment of a governed program: what there was, without what would lead around the gateway and
// without the settings and secrets of whoever starts it, and with what leads through.
func (s Surroundings) Environment(there []string) []string {
	set := s.variables(there)
	names := make(map[string]bool, len(set))
	for _, v := range set {
		name, _, _ := strings.Cut(v, "=")
		names[name] = true
	}
	var kept []string
	for _, v := range there {
		name, value, _ := strings.Cut(v, "=")
		if !ours(name) && !superseded(name) && !names[name] && !s.tells(value) {
			kept = append(kept, v)
		}
	}
	return append(kept, set...)
}

// tells reports whether a value holds a secret.
func (s Surroundings) tells(value string) bool {
	for _, secret := range s.Secrets {
		if secret != "" && strings.Contains(value, secret) {
			return true
		}
	}
	return false
}

// URL is the proxy's URL with the credential that the program shows it. It is a secret.
func (s Surroundings) URL() string {
	proxy := *s.Proxy
	proxy.User = url.UserPassword(s.Mandate, s.Token)
	return proxy.String()
}

func (s Surroundings) variables(there []string) []string {
	proxy, ca := s.URL(), s.Files.Roots
	var set []string
	give := func(value string, names ...string) {
		for _, name := range names {
			set = append(set, name+"="+value)
		}
	}
	give(proxy, "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
	give(s.Ungoverned, "NO_PROXY", "no_proxy")
	give(ca, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "DENO_CERT")
	give(ca, "GIT_SSL_CAINFO", "GIT_PROXY_SSL_CAINFO")
	give("basic", "GIT_HTTP_PROXY_AUTHMETHOD") // git waits for a 407 otherwise
	give(ca, "PIP_CERT", "npm_config_cafile", "CARGO_HTTP_CAINFO")
	give(proxy, "PIP_PROXY", "npm_config_proxy", "npm_config_https_proxy", "CARGO_HTTP_PROXY")
	give(s.Ungoverned, "npm_config_noproxy")
	give(ca, "NODE_EXTRA_CA_CERTS")
	give("1", "NODE_USE_ENV_PROXY")
	give(s.Files.Wget, "WGETRC")
	give(s.java(valueOf(there, "JAVA_TOOL_OPTIONS")), "JAVA_TOOL_OPTIONS")
	give(strings.TrimSpace(valueOf(there, "JDK_JAVA_OPTIONS")+" @"+s.Files.Java), "JDK_JAVA_OPTIONS")

	give(proxy, "CARACAL_PROXY_URL")
	give(s.Mandate, "CARACAL_MANDATE_ID")
	give(s.Token, "CARACAL_AGENT_JWT")
	give(ca, "CARACAL_CA_FILE")
	if s.Gateway != "" {
		give(s.Gateway, "CARACAL_GATEWAY_URL")
	}
	return set
}

// java are the options of every Java machine. They hold no secret, since each prints them when it starts.
func (s Surroundings) java(there string) string {
	port := portOf(s.Proxy)
	options := []string{
		"-Djavax.net.ssl.trustStore=" + s.Files.Store, "-Djavax.net.ssl.trustStoreType=PKCS12",
		"-Djavax.net.ssl.trustStorePassword=" + storePassword,
	}
	for _, scheme := range []string{"http", "https"} {
		options = append(options, "-D"+scheme+".proxyHost="+s.Proxy.Hostname(), "-D"+scheme+".proxyPort="+port)
	}
	options = append(options, "-Dhttp.nonProxyHosts="+strings.ReplaceAll(s.Ungoverned, ",", "|"),
		"-Djdk.http.auth.tunneling.disabledSchemes=", //nolint:misspell // it is called so
		"-Djdk.httpclient.allowRestrictedHeaders=proxy-authorization")
	return strings.TrimSpace(there + " " + strings.Join(options, " "))
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

func valueOf(environment []string, name string) string {
	for _, v := range environment {
		if n, value, _ := strings.Cut(v, "="); n == name {
			return value
		}
	}
	return ""
}

// ParseProxy reads the URL of a proxy port and leaves out whoever it says to be. It carries what is shown to the proxy and
// what a program asks in plain http: only over TLS or on loopback, unless that is allowed.
func ParseProxy(text string, allowPlain bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("the proxy is not of the form http://host:port") // its text may hold a password
	}
	if u.Scheme == "http" && !allowPlain && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("the proxy at %s would be shown the token unencrypted", u.Host)
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), portOf(u))}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
