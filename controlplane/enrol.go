package controlplane

import (
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	maxInstance     = 253
	maxFormats      = 64
	maxEnvoyRefusal = 1000
)

// Enrolment registers one process of a gateway. The sync server has verified that the process holds the private key.
type Enrolment struct {
	PublicKey []byte // Ed25519
	// Instance names the place where the process runs, for people. A later process at the same place under the same
	// gateway key takes the place of an earlier that is not connected; the lease of the earlier runs all the same.
	Instance string
	Program  Program
}

// Program is what a gateway process runs.
type Program struct {
	Version string
	Formats []uint32 // of bundles that it reads
}

// check refuses a program that does not read what is served.
func (p Program) check() error {
	if len(p.Formats) > maxFormats {
		return authority.Invalid("formats", "lists more than %d", maxFormats)
	}
	if !slices.Contains(p.Formats, bundle.Format) {
		return &authority.Error{Code: authority.CodeRefused, Message: "this control plane serves bundles of the format " +
			"2, which the gateway's program does not read: upgrade the gateway"}
	}
	return nil
}

// Enrolled is what a gateway process starts with.
type Enrolled struct {
	GatewayID   authority.GatewayID
	WorkspaceID authority.WorkspaceID
	Deployment  string
	Timeline    string
	// KeySet is sealed by the workspace's root key, whose fingerprint is in the gateway key.
	KeySet string
}

// EnrolGateway registers a process. A public key that is enrolled already under the same gateway key answers the
// gateway that it is, even where that one was declared dead. A key for a single use enrols no other.
func (s *Service) EnrolGateway(ctx context.Context, c Caller, e Enrolment) (Enrolled, error) {
	op := allowed("enrol_gateway").quietly()
	c.once = once{} // the public key makes it repeatable
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (Enrolled, error) {
		if len(e.PublicKey) != ed25519.PublicKeySize {
			return Enrolled{}, authority.Invalid("public_key", "is %d bytes", ed25519.PublicKeySize)
		}
		if err := e.Program.check(); err != nil {
			return Enrolled{}, err
		}
		keys, err := s.openKeys(ctx, tx, c.workspace)
		if err != nil {
			return Enrolled{}, err
		}
		enrolled := Enrolled{WorkspaceID: c.workspace, Deployment: keys.set.Deployment, Timeline: keys.set.Timeline}
		if enrolled.KeySet, err = token.SealKeySet(keys.root, keys.set); err != nil {
			return Enrolled{}, err
		}
		enrolled.GatewayID, err = s.enrol(ctx, tx, ch, e)
		return enrolled, err
	})
	return written.Value, err
}

// enrol finds the gateway of a public key, or adds it.
func (s *Service) enrol(ctx context.Context, tx *postgres.Tx, ch *change, e Enrolment) (authority.GatewayID, error) {
	single, used, err := tx.LockSingleUse(ctx, ch.caller.key)
	if err != nil {
		return "", err
	}
	g, err := tx.GatewayByPublicKey(ctx, ch.caller.key, e.PublicKey)
	known := err == nil
	switch {
	case err != nil && !errors.Is(err, postgres.ErrNotFound):
		return "", err
	case known && g.RevokedAt != nil:
		return "", errRevokedGateway
	case known && g.ForgottenAt == nil:
		ch.unchanged = true
		return g.ID, nil
	case !known && single && used:
		return "", authority.Forbidden("this gateway key is for one process, which has enrolled")
	}
	if !known {
		if err := s.roomForGateway(ctx, tx, ch); err != nil {
			return "", err
		}
		g = postgres.Gateway{
			ID: authority.NewID[authority.GatewayID](), WorkspaceID: ch.caller.workspace, KeyID: ch.caller.key, PublicKey: e.PublicKey,
			Instance: clean(e.Instance, maxInstance), EnrolledAt: ch.at,
		}
	}
	g.Version, g.Formats = clean(e.Program.Version, maxInstance), append([]uint32{}, e.Program.Formats...)
	if known {
		err = tx.ReviveGateway(ctx, g, ch.at)
	} else {
		err = tx.InsertGateway(ctx, g)
	}
	if err != nil {
		return "", err
	}
	ch.tell(authority.Event{
		Type:   authority.EventGatewayEnrolled,
		Detail: map[string]any{"gateway_id": g.ID, "instance": g.Instance, "version": g.Version},
	})
	return g.ID, tx.SupersedeGateways(ctx, g, ch.at, ch.at.Add(-staleAfter))
}

var errRevokedGateway = authority.Forbidden("this gateway is revoked: with another, empty state directory it enrols anew, if its key allows that")

// clean makes a gateway's own words fit to be shown.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}
