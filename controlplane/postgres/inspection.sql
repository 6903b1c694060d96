-- name: InspectionAuthority :one
SELECT certificate, sealed, not_before, not_after FROM inspection_authorities WHERE workspace_id = @workspace_id;

-- What is there already stays.
-- name: InsertInspectionAuthority :exec
INSERT INTO inspection_authorities (workspace_id, certificate, sealed, not_before, not_after)
VALUES (@workspace_id, @certificate, @sealed, @not_before, @not_after)
ON CONFLICT (workspace_id) DO NOTHING;

-- name: ForgetInspectionCertificates :exec
DELETE FROM inspection_certificates WHERE workspace_id = @workspace_id AND not_after <= @at;

-- name: CountInspectionCertificates :one
SELECT count(*) FROM inspection_certificates
WHERE workspace_id = @workspace_id AND gateway_id = @gateway_id AND issued_at > @after;

-- name: InsertInspectionCertificate :exec
INSERT INTO inspection_certificates (workspace_id, gateway_id, serial, issued_at, not_after)
VALUES (@workspace_id, @gateway_id, @serial, @issued_at, @not_after);
