package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/token"
)

// A gateway process needs a certificate every other day. It is given maxCertificates within certificateWindow, which is
// enough for one that starts again and again and cannot keep what it is given.
const (
	maxCertificates   = 6
	certificateWindow = time.Hour
)

// purposeInspection separates the private keys of inspection CAs from all else in the vault.
const purposeInspection token.Purpose = "inspection"

// InspectionCA is what clients of a workspace's gateways trust where TLS is seen inside.
type InspectionCA struct {
	Certificate string    `json:"certificate"` // PEM
	NotAfter    time.Time `json:"not_after"`
}

// InspectionCA reads the certificate of the workspace's inspection CA. One is made for a workspace of before there were any.
func (s *Service) InspectionCA(ctx context.Context, c Caller) (InspectionCA, error) {
	const name = "get_inspection_ca"
	found, err := read(ctx, s, c, allowed(name), func(ctx context.Context, tx *postgres.Tx) (InspectionCA, error) {
		kept, err := tx.InspectionAuthority(ctx)
		if errors.Is(err, postgres.ErrNotFound) {
			return InspectionCA{}, nil
		}
		return showCA(kept), err
	})
	if err != nil || found.Certificate != "" {
		return found, err
	}
	err = s.note(ctx, c, name, func(ctx context.Context, tx *postgres.Tx) error {
		kept, err := s.keepInspectionAuthority(ctx, tx)
		found = showCA(kept)
		return err
	})
	return found, err
}

func showCA(kept postgres.SealedAuthority) InspectionCA {
	return InspectionCA{Certificate: string(inspection.PEM(kept.Certificate)), NotAfter: kept.NotAfter}
}

// keepInspectionAuthority reads the inspection CA of the transaction's workspace, which is made where there is none.
func (s *Service) keepInspectionAuthority(ctx context.Context, tx *postgres.Tx) (postgres.SealedAuthority, error) {
	kept, err := tx.InspectionAuthority(ctx)
	if !errors.Is(err, postgres.ErrNotFound) {
		return kept, err
	}
	w, err := tx.Workspace(ctx)
	if err != nil {
		return kept, err
	}
	if err := s.addInspectionAuthority(ctx, tx, w); err != nil {
		return kept, err
	}
	return tx.InspectionAuthority(ctx) // another transaction may have been first
}

// addInspectionAuthority makes the inspection CA of a workspace.
func (s *Service) addInspectionAuthority(ctx context.Context, tx *postgres.Tx, w authority.Workspace) error {
	made, err := inspection.NewAuthority(w.Name, string(w.ID), s.now())
	if err != nil {
		return err
	}
	key, err := made.Key()
	if err != nil {
		return err
	}
	return tx.InsertInspectionAuthority(ctx, postgres.SealedAuthority{
		Certificate: made.Certificate(), Sealed: s.vault.Seal(string(w.ID), purposeInspection, key),
		NotBefore: made.NotBefore(), NotAfter: made.NotAfter(),
	})
}

// Certified is an intermediate for a gateway process, and the root above it, in DER.
type Certified struct {
	Certificate []byte
	Root        []byte
}

// CertifyGateway makes the certificate under which a gateway process makes those of the servers that its clients ask for.
// The sync server has verified that the process sent the request; the request proves that it holds the key. A process that
// is revoked, was declared dead or asks too often gets none.
func (s *Service) CertifyGateway(ctx context.Context, c Caller, id authority.GatewayID, request []byte) (Certified, error) {
	op := allowed("certify_gateway").quietly()
	c.once = once{}
	written, err := write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (Certified, error) {
		if err := ch.mayCertify(ctx, tx, id); err != nil {
			return Certified{}, err
		}
		kept, err := s.keepInspectionAuthority(ctx, tx)
		if err != nil {
			return Certified{}, err
		}
		root, err := s.openInspectionAuthority(c.workspace, kept)
		if err != nil {
			return Certified{}, err
		}
		made, err := root.Certify(request, string(id), ch.at)
		switch {
		case errors.Is(err, inspection.ErrRequest):
			return Certified{}, authority.Invalid("request", "%v", err)
		case errors.Is(err, inspection.ErrEnded):
			return Certified{}, &authority.Error{Code: authority.CodeConflict, Message: err.Error()}
		case err != nil:
			return Certified{}, err
		}
		serial := made.SerialNumber.Text(16)
		ch.tell(authority.Event{Type: authority.EventInspectionCertificateIssued, Detail: map[string]any{
			"gateway_id": id, "serial": serial, "not_after": made.NotAfter,
		}})
		return Certified{made.Raw, kept.Certificate}, tx.InsertInspectionCertificate(ctx, postgres.InspectionCertificate{
			GatewayID: id, Serial: serial, IssuedAt: ch.at, NotAfter: made.NotAfter,
		})
	})
	return written.Value, err
}

func (s *Service) openInspectionAuthority(w authority.WorkspaceID, kept postgres.SealedAuthority) (inspection.Authority, error) {
	key, err := s.vault.Open(string(w), purposeInspection, kept.Sealed)
	if err != nil {
		return inspection.Authority{}, fmt.Errorf("open inspection CA of %s: %w", w, err)
	}
	return inspection.ParseAuthority(kept.Certificate, key)
}

// mayCertify reports as an error why a process gets no certificate. It holds the process until the transaction ends, so
// that one which is being revoked gets none, and one that asks twice at once is counted twice.
func (ch *change) mayCertify(ctx context.Context, tx *postgres.Tx, id authority.GatewayID) error {
	g, err := tx.LockGateway(ctx, id)
	switch {
	case err != nil:
		return orNotFound("gateway", err)
	case g.KeyID != ch.caller.key || g.ForgottenAt != nil:
		return authority.NotFound("gateway")
	case g.RevokedAt != nil:
		return errRevokedGateway
	}
	given, err := tx.InspectionCertificatesSince(ctx, id, ch.at.Add(-certificateWindow))
	if err == nil && given >= maxCertificates {
		err = &authority.Error{Code: authority.CodeLimited, Message: fmt.Sprintf(
			"this gateway was given %d inspection certificates within %s, which is the most", given, certificateWindow)}
	}
	return err
}
