package postgres

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
)

// The service refuses it before; the index holds whatever it forgets.
func TestABasePathIsOfOneDestinationOfAWorkspace(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	mine, other := fill(t, s, "mine"), fill(t, s, "other")
	insert := func(w tenant, name, base string) error {
		return s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			return tx.InsertDestination(ctx, authority.Destination{
				ID: authority.NewID[authority.DestinationID](), WorkspaceID: w.id, Name: name, Host: name + ".test", Ports: []uint16{443},
				TLS: authority.TLSRequired, EncodedSlash: authority.EncodedSlashRefuse, Tunnel: authority.TunnelInspect, CreatedAt: now(),
				BasePath: base, Addresses: []netip.Prefix{}, Rules: []authority.Rule{},
			})
		})
	}
	for _, c := range []struct {
		sentence   string
		in         tenant
		name, base string
		want       error
	}{
		{"the first of a base path", mine, "a", "models", nil},
		{"one of another", mine, "b", "shop", nil},
		{"one of another workspace", other, "a", "models", nil},
		{"the second", mine, "c", "models", ErrDuplicate},
		{"one without", mine, "d", "", nil},
		{"another without", mine, "e", "", nil},
	} {
		if err := insert(c.in, c.name, c.base); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.sentence, err, c.want)
		}
	}
}
