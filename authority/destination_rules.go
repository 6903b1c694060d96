package authority

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxNameLength      = 100
	maxPorts           = 16
	maxAddresses       = 64
	maxCABytes         = 64 << 10
	maxPrefixBytes     = 32
	maxDurationSeconds = 24 * 60 * 60
)

// WithDefaults fills in what was left out: port 443, TLS (port 80 when it asks for plain text), tunnels inspected, escaped
// slashes refused, no rules.
func (d Destination) WithDefaults() Destination {
	if d.TLS == "" {
		d.TLS = TLSRequired
	}
	if len(d.Ports) == 0 {
		d.Ports = []uint16{443}
		if d.TLS == TLSNone {
			d.Ports = []uint16{80}
		}
	}
	if d.Tunnel == "" {
		d.Tunnel = TunnelInspect
	}
	if d.EncodedSlash == "" {
		d.EncodedSlash = EncodedSlashRefuse
	}
	if d.Rules == nil {
		d.Rules = []Rule{}
	}
	return d
}

// Private reports whether the destination lists the addresses it may resolve to.
func (d Destination) Private() bool { return len(d.Addresses) > 0 }

// Validate reports the first thing that is wrong with the destination or one of its rules, as an invalid_request whose
// Field says where.
func (d Destination) Validate() error {
	_, err := newCatalogEntry(d)
	return err
}

// validateReach judges all of the destination but its rules.
func (d Destination) validateReach() error {
	if problem := nameProblem(d.Name, maxNameLength); problem != "" {
		return Invalid("name", "the name %s", problem)
	}
	for _, check := range []func(Destination) error{
		validateHost, validatePorts, validateAddresses, validateConnectTo, validateTransport, validateCredential, validateClientCertificate, validateTunnel, validateBasePath,
	} {
		if err := check(d); err != nil {
			return err
		}
	}
	if d.MaxDurationSeconds < 0 || d.MaxDurationSeconds > maxDurationSeconds {
		return Invalid("max_duration_seconds", "is 1 to %d, or 0 for the workspace's bound", maxDurationSeconds)
	}
	if d.EncodedSlash != EncodedSlashRefuse && d.EncodedSlash != EncodedSlashKeep {
		return Invalid("encoded_slash", "is refuse or keep")
	}
	return nil
}

func validateHost(d Destination) error {
	suffix, wildcard := strings.CutPrefix(d.Host, "*.")
	if problem := hostProblem(suffix); problem != "" {
		return Invalid("host", "%q: %s", clip(d.Host), problem)
	}
	if wildcard && !strings.Contains(suffix, ".") {
		return Invalid("host", "%q covers a whole top-level domain; name at least two labels behind *", clip(d.Host))
	}
	return nil
}

func validatePorts(d Destination) error {
	if len(d.Ports) == 0 || len(d.Ports) > maxPorts {
		return Invalid("ports", "lists 1 to %d ports", maxPorts)
	}
	for i, port := range d.Ports {
		if port == 0 || slices.Contains(d.Ports[:i], port) {
			return Invalid("ports"+index(i), "%d is not a port or listed twice", port)
		}
	}
	return nil
}

func validateAddresses(d Destination) error {
	if len(d.Addresses) > maxAddresses {
		return Invalid("addresses", "lists more than %d ranges", maxAddresses)
	}
	if d.Private() && strings.HasPrefix(d.Host, "*") {
		return Invalid("host", "a destination with addresses of its own has one exact host")
	}
	for i, p := range d.Addresses {
		if problem := prefixProblem(p); problem != "" {
			return Invalid("addresses"+index(i), "%s %s", p, problem)
		}
	}
	return nil
}

func validateConnectTo(d Destination) error {
	if d.ConnectTo == "" {
		return nil
	}
	if addr, err := netip.ParseAddrPort(d.ConnectTo); err == nil {
		listed := slices.ContainsFunc(d.Addresses, func(p netip.Prefix) bool { return p.Contains(addr.Addr()) })
		if !listed || addr.Port() == 0 || addr.String() != d.ConnectTo {
			return Invalid("connect_to", "%q is not a port of an address in addresses", clip(d.ConnectTo))
		}
		return nil
	}
	host, port, _ := strings.Cut(d.ConnectTo, ":")
	if problem := hostProblem(host); problem != "" {
		return Invalid("connect_to", "%q: %s", clip(d.ConnectTo), problem)
	}
	if _, ok := parsePort(port); !ok {
		return Invalid("connect_to", "%q does not end in a port from 1 to 65535", clip(d.ConnectTo))
	}
	return nil
}

func validateTransport(d Destination) error {
	switch d.TLS {
	case TLSRequired:
	case TLSNone:
		if d.CA != "" {
			return Invalid("ca", "a plain destination has no certificates to check")
		}
		return nil
	default:
		return Invalid("tls", "is tls or plain")
	}
	if problem := caProblem(d.CA); problem != "" {
		return Invalid("ca", "%s", problem)
	}
	return nil
}

func caProblem(text string) string {
	if text == "" {
		return ""
	}
	if len(text) > maxCABytes {
		return "is longer than " + strconv.Itoa(maxCABytes) + " bytes"
	}
	for rest, more := []byte(text), true; more; more = len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return "holds something that is not a PEM certificate"
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "holds a certificate that cannot be read: " + err.Error()
		}
	}
	return ""
}

func validateCredential(d Destination) error {
	c := d.Credential
	if c == nil {
		return nil
	}
	if !isSecretName(c.Name) {
		return Invalid("credential.name", "%q is not 1 to 64 letters, digits and -_. that begin with a letter or digit", clip(c.Name))
	}
	if problem := credentialHeaderProblem(c.Header); problem != "" {
		return Invalid("credential.header", "%q %s", clip(c.Header), problem)
	}
	if len(c.Prefix) > maxPrefixBytes || strings.ContainsFunc(c.Prefix, func(r rune) bool { return r < ' ' || r > '~' }) {
		return Invalid("credential.prefix", "is not at most %d printable ASCII characters", maxPrefixBytes)
	}
	if d.TLS == TLSNone && !d.Private() {
		return Invalid("credential", "a credential does not go over plain text to a public host")
	}
	return nil
}

// isSecretName reports whether s can name a file of one directory or a variable, and nothing else.
func isSecretName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letterOrDigit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
		if !letterOrDigit && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// credentialHeaderProblem refuses headers that frame or route a message, and those that are ours or Envoy's.
func credentialHeaderProblem(name string) string {
	if !isToken(name) || strings.ToLower(name) != name || strings.Contains(name, "_") {
		return "is not a lower-case header name of at most 32 bytes"
	}
	switch name {
	case "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "te",
		"trailer", "upgrade", "keep-alive", "expect", "via", "forwarded", "cookie":
		return "frames or routes the message and carries no credential"
	}
	for _, prefix := range []string{"proxy-", "x-caracal-", "x-envoy-", "x-forwarded-"} {
		if strings.HasPrefix(name, prefix) {
			return "begins with " + prefix + ", which never reaches an upstream"
		}
	}
	return ""
}

func validateClientCertificate(d Destination) error {
	switch {
	case d.ClientCertificate == "":
	case !isSecretName(d.ClientCertificate):
		return Invalid("client_certificate", "%q is not 1 to 64 letters, digits and -_. that begin with a letter or digit", clip(d.ClientCertificate))
	case d.TLS == TLSNone:
		return Invalid("client_certificate", "a plain destination is shown no certificate")
	}
	return nil
}

func validateTunnel(d Destination) error {
	switch d.Tunnel {
	case "", TunnelInspect, TunnelRefuse:
		return nil
	case TunnelPassthrough:
	default:
		return Invalid("tunnel", "is inspect, passthrough or refuse")
	}
	if d.Credential != nil || d.ClientCertificate != "" {
		return Invalid("tunnel", "nothing of the gateway's goes along in a tunnel that it does not look into")
	}
	return nil
}

func validateBasePath(d Destination) error {
	switch {
	case d.BasePath == "":
	case !isLabel(d.BasePath):
		return Invalid("base_path", "%q is not a label of lower-case letters, digits and inner hyphens", clip(d.BasePath))
	case strings.HasPrefix(d.Host, "*"):
		return Invalid("base_path", "a destination with a base path has one exact host")
	}
	return nil
}
