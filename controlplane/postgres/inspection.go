package postgres

import (
	"context"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres/internal/query"
)

// SealedAuthority is a workspace's inspection CA: its certificate in DER, and its private key, encrypted.
type SealedAuthority struct {
	Certificate []byte
	Sealed      []byte
	NotBefore   time.Time
	NotAfter    time.Time
}

// InspectionAuthority reads the workspace's inspection CA. It is ErrNotFound where none was made yet.
func (t *Tx) InspectionAuthority(ctx context.Context) (SealedAuthority, error) {
	row, err := t.q.InspectionAuthority(ctx, query.InspectionAuthorityParams{WorkspaceID: t.workspace})
	return SealedAuthority(row), translate("read inspection CA", err)
}

// InsertInspectionAuthority adds the workspace's inspection CA, unless it has one.
func (t *Tx) InsertInspectionAuthority(ctx context.Context, a SealedAuthority) error {
	return translate("insert inspection CA", t.q.InsertInspectionAuthority(ctx, query.InsertInspectionAuthorityParams{
		WorkspaceID: t.workspace, Certificate: a.Certificate, Sealed: a.Sealed, NotBefore: a.NotBefore, NotAfter: a.NotAfter,
	}))
}

// InspectionCertificate is one that a gateway process has under the workspace's inspection CA.
type InspectionCertificate struct {
	GatewayID authority.GatewayID
	Serial    string // in hexadecimal
	IssuedAt  time.Time
	NotAfter  time.Time
}

// InsertInspectionCertificate notes a certificate, and forgets those that have ended.
func (t *Tx) InsertInspectionCertificate(ctx context.Context, c InspectionCertificate) error {
	if err := t.q.ForgetInspectionCertificates(ctx, query.ForgetInspectionCertificatesParams{WorkspaceID: t.workspace, At: c.IssuedAt}); err != nil {
		return translate("forget inspection certificates", err)
	}
	return translate("insert inspection certificate", t.q.InsertInspectionCertificate(ctx, query.InsertInspectionCertificateParams{
		WorkspaceID: t.workspace, GatewayID: c.GatewayID, Serial: c.Serial, IssuedAt: c.IssuedAt, NotAfter: c.NotAfter,
	}))
}

// InspectionCertificatesSince counts those that a gateway process was given after an instant.
func (t *Tx) InspectionCertificatesSince(ctx context.Context, id authority.GatewayID, after time.Time) (int64, error) {
	n, err := t.q.CountInspectionCertificates(ctx, query.CountInspectionCertificatesParams{WorkspaceID: t.workspace, GatewayID: id, After: after})
	return n, translate("count inspection certificates", err)
}
