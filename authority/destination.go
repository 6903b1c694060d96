package authority

import (
	"net/netip"
	"time"
)

// TLSMode says how a destination is spoken to.
type TLSMode string

// TLS is the rule; plain text must be asked for.
const (
	TLSRequired TLSMode = "tls"
	TLSNone     TLSMode = "plain"
)

// EncodedSlash says what a percent-encoded slash in a path does.
type EncodedSlash string

// A path with %2F is refused unless the destination keeps it as part of its segment.
const (
	EncodedSlashRefuse EncodedSlash = "refuse"
	EncodedSlashKeep   EncodedSlash = "keep"
)

// Tunnel says what becomes of a CONNECT, by which a client that uses the gateway as its proxy asks for a connection.
type Tunnel string

// The gateway looks inside unless a destination says that it does not, or has no tunnels at all.
const (
	// TunnelInspect ends the client's TLS at the gateway; each request inside is decided on by itself.
	TunnelInspect Tunnel = "inspect"
	// TunnelPassthrough carries the bytes unseen: what is decided on is the tunnel as a whole.
	TunnelPassthrough Tunnel = "passthrough"
	// TunnelRefuse has no tunnels.
	TunnelRefuse Tunnel = "refuse"
)

// Destination is how to reach something: hosts, ports, transport, and whose credential goes along.
type Destination struct {
	ID          DestinationID `json:"destination_id"`
	WorkspaceID WorkspaceID   `json:"workspace_id"`
	Name        string        `json:"name"`
	// Host is one exact name or `*.suffix`, lower case.
	Host  string   `json:"host"`
	Ports []uint16 `json:"ports"`
	TLS   TLSMode  `json:"tls"`
	// CA holds the PEM certificates that the upstream must chain to; empty means the public roots.
	CA string `json:"ca,omitempty"`
	// ConnectTo is the host:port that is dialled instead of the requested one; the name asked for stays in TLS and
	// in the request.
	ConnectTo string `json:"connect_to,omitempty"`
	// Addresses makes the destination private: it may resolve to these ranges, and to nothing else.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Credential, if set, is sent in place of anything the caller sends under that header.
	Credential *Credential `json:"credential,omitempty"`
	// MaxDurationSeconds bounds each request to the destination; 0 leaves the workspace's bound.
	MaxDurationSeconds int64        `json:"max_duration_seconds,omitempty"`
	EncodedSlash       EncodedSlash `json:"encoded_slash"`
	Rules              []Rule       `json:"rules"`
	CreatedAt          time.Time    `json:"created_at"`
	// ClientCertificate names a certificate and its key that live at the gateway, by which it identifies itself to the
	// upstream; empty for none.
	ClientCertificate string `json:"client_certificate,omitempty"`
	// Tunnel says what becomes of a CONNECT; empty means TunnelInspect.
	Tunnel Tunnel `json:"tunnel,omitempty"`
	// BasePath, if set, is the label under which the first port is a path of the gateway itself: /r/<base path>/….
	BasePath string `json:"base_path,omitempty"`
}

// Credential names a secret that lives at the gateway. Its value is never in a bundle, an event or a log.
type Credential struct {
	Name   string `json:"name"`             // of the secret, a file name or variable at the gateway
	Header string `json:"header"`           // the one header that carries it
	Prefix string `json:"prefix,omitempty"` // goes before the value, such as "Bearer "
}

// Rule maps requests of its destination to a resource and an action.
type Rule struct {
	ID RuleID `json:"rule_id"`
	// Path is a template of literal segments, `{variable}` segments and one final `**`.
	Path string `json:"path"`
	// Methods maps an upper-case method, or `*`, to the action it is. A method that is not listed is refused.
	Methods map[string]Action `json:"methods"`
	// Resource is the template of the resource; its `{variable}`s come from the path.
	Resource string `json:"resource"`
}
