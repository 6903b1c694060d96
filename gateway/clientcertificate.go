package gateway

import (
	"bytes"
	"log/slog"
	"sync"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
)

// rereadEvery is how often the files of client certificates are read again.
const rereadEvery = 2 * time.Second

// clientCertificates are those that the catalog's destinations name, as the gateway's host has them. What cannot be read is
// not held, whatever was held before.
type clientCertificates struct {
	read func(name string) (extauthz.ClientCertificate, error)
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	held    map[string]extauthz.ClientCertificate
	missing map[string]string // of those that are named and not held, why
}

// take reads the certificates with these names, and forgets all others. Its callers take turns. It reports whether what is held has changed.
func (c *clientCertificates) take(names []string) (changed bool) {
	held, missing := map[string]extauthz.ClientCertificate{}, map[string]string{}
	for _, name := range names {
		if found, err := c.read(name); err != nil {
			missing[name] = err.Error()
		} else {
			held[name] = found
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, cause := range missing {
		if c.missing[name] != cause {
			c.log.Error("a client certificate is not there: destinations that name it are denied", "name", name, "cause", cause)
		}
	}
	changed = len(held) != len(c.held)
	for name, found := range held {
		if before, had := c.held[name]; !had || !bytes.Equal(before.Chain, found.Chain) || !bytes.Equal(before.PrivateKey, found.PrivateKey) {
			changed = true
			c.log.Info("client certificate read", "name", name, "not_after", stamp(found.NotAfter))
		}
	}
	c.held, c.missing = held, missing
	return changed
}

// secrets are the held ones as Envoy takes them.
func (c *clientCertificates) secrets() []*tlsv3.Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	built := make([]*tlsv3.Secret, 0, len(c.held))
	for name, found := range c.held {
		built = append(built, envoy.ClientCertificate(name, found.Chain, found.PrivateKey))
	}
	return built
}

// holds reports whether a certificate is held that has not expired.
func (c *clientCertificates) holds(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, held := c.held[name]
	return held && c.now().Before(found.NotAfter)
}
