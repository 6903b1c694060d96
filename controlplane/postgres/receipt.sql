-- name: InsertReceipt :exec
INSERT INTO receipts (id, workspace_id, kind, target_id, target, state, revision, timeline, requested_by, revoked_at, created_at,
    mandate_count, mandates_digest, settling_ms, effective_at, withdrawn_at, signature, signed_by)
VALUES (@id, @workspace_id, @kind, @target_id, @target, @state, @revision, @timeline, @requested_by, @revoked_at, @created_at,
    @mandate_count, @mandates_digest, @settling_ms, @effective_at, NULL, @signature, @signed_by);

-- name: InsertReceiptGateways :exec
INSERT INTO receipt_gateways (workspace_id, receipt_id, gateway_id, instance, lease, fenced_until, enforced_at, fenced_at,
    streams_cut)
SELECT @workspace_id, @receipt_id, a.gateway_id, a.instance, a.lease, nullif(a.fenced_until, 'epoch'), NULL, NULL, 0
FROM (SELECT unnest(@gateways::text[]) AS gateway_id, unnest(@instances::text[]) AS instance, unnest(@leases::bigint[]) AS lease,
    unnest(@fenced_until::timestamptz[]) AS fenced_until) a;

-- name: Receipt :one
SELECT id, workspace_id, kind, target, state, revision, timeline, requested_by, revoked_at, created_at, mandate_count,
    mandates_digest, settling_ms, effective_at, withdrawn_at, signature
FROM receipts WHERE workspace_id = @workspace_id AND id = @id;

-- name: ReceiptOfRevision :one
SELECT id FROM receipts WHERE workspace_id = @workspace_id AND revision = @revision;

-- name: SuspensionRevision :one
SELECT suspended_revision FROM principals WHERE workspace_id = @workspace_id AND id = @id;

-- name: DeletionRevision :one
SELECT deleted_revision FROM workspaces WHERE id = @workspace_id;

-- Excludes every other writer of the workspace until the transaction ends.
-- name: LockWorkspace :one
SELECT revision FROM workspaces WHERE id = @workspace_id FOR NO KEY UPDATE;

-- name: ReceiptGateways :many
SELECT gateway_id, instance, lease, fenced_until, enforced_at, fenced_at, streams_cut
FROM receipt_gateways WHERE workspace_id = @workspace_id AND receipt_id = @receipt_id ORDER BY gateway_id;

-- The gateways that pending receipts wait for, as they stand. No revision of its own lets a gateway go that is itself
-- revoked: it may decide until its lease is over.
-- name: AwaitedGateways :many
SELECT p.receipt_id, p.gateway_id,
    (CASE WHEN r.kind = 'gateway' AND r.target_id = p.gateway_id THEN 9223372036854775807 ELSE r.revision END)::bigint AS awaited,
    g.revision, g.acknowledged_at
FROM receipts r
JOIN receipt_gateways p ON p.workspace_id = @workspace_id AND p.receipt_id = r.id
    AND p.enforced_at IS NULL AND p.fenced_at IS NULL
JOIN gateways g ON g.workspace_id = @workspace_id AND g.id = p.gateway_id
WHERE r.workspace_id = @workspace_id AND r.state = 'pending';

-- What gateways acknowledged is taken in one statement, for as many as have.
-- name: NoteEnforced :exec
UPDATE receipt_gateways p SET enforced_at = @at::timestamptz, streams_cut = a.streams_cut
FROM (SELECT unnest(@gateways::text[]) AS gateway_id, unnest(@revisions::bigint[]) AS revision,
    unnest(@streams_cut::bigint[]) AS streams_cut) a, receipts r
WHERE p.workspace_id = @workspace_id AND p.gateway_id = a.gateway_id AND p.enforced_at IS NULL AND p.fenced_at IS NULL
    AND r.workspace_id = @workspace_id AND r.id = p.receipt_id AND r.state = 'pending' AND r.revision <= a.revision
    AND NOT (r.kind = 'gateway' AND r.target_id = p.gateway_id);

-- name: NoteFenced :exec
UPDATE receipt_gateways p SET fenced_at = @at::timestamptz
WHERE p.workspace_id = @workspace_id AND p.gateway_id = ANY (@gateways::text[]) AND p.enforced_at IS NULL AND p.fenced_at IS NULL;

-- Pending receipts that wait for no gateway any more.
-- name: SettlingReceipts :many
SELECT r.id, r.revision, r.settling_ms FROM receipts r
WHERE r.workspace_id = @workspace_id AND r.state = 'pending' AND NOT EXISTS (
    SELECT FROM receipt_gateways p WHERE p.workspace_id = @workspace_id AND p.receipt_id = r.id
        AND p.enforced_at IS NULL AND p.fenced_at IS NULL)
ORDER BY r.revision;

-- name: FinishReceipt :execrows
UPDATE receipts r SET state = 'enforced', effective_at = @effective_at::timestamptz, signature = @signature, signed_by = @signed_by
WHERE r.workspace_id = @workspace_id AND r.id = @id AND r.state = 'pending' AND NOT EXISTS (
    SELECT FROM receipt_gateways p WHERE p.workspace_id = @workspace_id AND p.receipt_id = r.id
        AND p.enforced_at IS NULL AND p.fenced_at IS NULL);

-- name: WithdrawReceipts :many
UPDATE receipts SET state = 'withdrawn', withdrawn_at = @at::timestamptz
WHERE workspace_id = @workspace_id AND target_id = @target_id AND state = 'pending' RETURNING id;

-- The ids of mandates that one revocation ended, from the top, after a place in that order: all, or those of one party.
-- name: ReceiptMandates :many
SELECT id, level FROM mandates
WHERE workspace_id = @workspace_id AND revoked_revision = @revoked_revision
    AND (level, id) > (@after_level::integer, @after_id::text)
    AND (@party::text = '' OR issuer_id = @party OR subject_id = @party)
ORDER BY level, id LIMIT @size;

-- The longest time that a request may last unwatched, in seconds; and whether any gateway has ever decided.
-- name: SettlingBounds :one
SELECT coalesce((SELECT s.seconds FROM short_requests s WHERE s.workspace_id = @workspace_id), 0)::bigint AS short_seconds,
    EXISTS (SELECT FROM gateways g WHERE g.workspace_id = @workspace_id AND (g.lease_number > 0 OR g.endless)) AS decided;

-- name: SignedReceipts :one
SELECT EXISTS (SELECT FROM receipts WHERE workspace_id = @workspace_id AND signed_by = @signed_by AND signed_by <> '');
