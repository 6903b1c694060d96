-- name: KeepBeyondReport :exec
INSERT INTO beyond_reports (workspace_id, gateway_id, timeline, revision, database_revision, proven, issued_at,
    revoked_mandates, suspended, revoked_keys, whole, reported_at)
VALUES (@workspace_id, @gateway_id, @timeline, @revision, @database_revision, @proven, @issued_at,
    @revoked_mandates, @suspended, @revoked_keys, @whole, @reported_at)
ON CONFLICT (workspace_id, gateway_id, timeline) DO UPDATE SET
    revision = excluded.revision, database_revision = excluded.database_revision, proven = excluded.proven,
    issued_at = excluded.issued_at, revoked_mandates = excluded.revoked_mandates, suspended = excluded.suspended,
    revoked_keys = excluded.revoked_keys, whole = excluded.whole, reported_at = excluded.reported_at, accepted_at = NULL
WHERE beyond_reports.accepted_at IS NULL OR beyond_reports.revision < excluded.revision;

-- name: PendingBeyondReports :many
SELECT gateway_id, timeline, revision, database_revision, proven, issued_at, revoked_mandates, suspended, revoked_keys, whole,
    reported_at
FROM beyond_reports WHERE workspace_id = @workspace_id AND accepted_at IS NULL ORDER BY reported_at, gateway_id FOR UPDATE;

-- name: AcceptBeyondReports :exec
UPDATE beyond_reports SET accepted_at = @at WHERE workspace_id = @workspace_id AND accepted_at IS NULL;

-- name: AcceptBeyondReport :exec
UPDATE beyond_reports SET accepted_at = @at
WHERE workspace_id = @workspace_id AND gateway_id = @gateway_id AND timeline = @timeline AND accepted_at IS NULL;

-- Which of these mandates does the database take for alive?
-- name: LivingMandatesAmong :many
SELECT id FROM mandates WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) AND NOT revoked;

-- name: ActivePrincipalsAmong :many
SELECT id FROM principals WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) AND NOT suspended;

-- Which keys of agents and services, of before an instant, does the database take for good that are not among these?
-- name: LivingKeysBeside :many
SELECT id FROM api_keys WHERE workspace_id = @workspace_id AND kind IN ('agent', 'service') AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > @at::timestamptz) AND created_at < @at::timestamptz AND NOT id = ANY (@ids::text[]);

-- When a revision was taken; no row where that is forgotten.
-- name: RevisionTaken :one
SELECT revised_at FROM revisions WHERE workspace_id = @workspace_id AND revision = @revision;

-- name: RaiseRevision :one
UPDATE workspaces SET revision = greatest(revision, @least::bigint) + 1, fence = greatest(revision, @least::bigint) + 1, revised_at = @at
WHERE id = @workspace_id RETURNING revision;

-- Ends mandates with all that was cut from them.
-- name: RevokeForest :many
WITH RECURSIVE forest (id) AS (
    SELECT m.id FROM mandates m WHERE m.workspace_id = @workspace_id AND m.id = ANY (@ids::text[])
    UNION
    SELECT m.id FROM mandates m JOIN forest ON m.parent_id = forest.id WHERE m.workspace_id = @workspace_id
)
UPDATE mandates m
SET revoked = true, revoked_at = @revoked_at::timestamptz, revoked_by = '', revoked_revision = @revoked_revision
FROM forest
WHERE m.workspace_id = @workspace_id AND m.id = forest.id AND NOT m.revoked
RETURNING m.id, m.subject_id, m.level;

-- name: SuspendAll :many
UPDATE principals SET suspended = true WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) AND NOT suspended
RETURNING id;

-- name: RevokeKeys :many
UPDATE api_keys SET revoked_at = @revoked_at::timestamptz
WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) AND revoked_at IS NULL
RETURNING id, principal_id;

-- Those that may have been granted a lease which the database has never heard of: all that nobody has declared dead.
-- name: LockAllGateways :many
SELECT id, revision, lease_number, lease_term_ms, lease_wait_ms, lease_over, endless FROM gateways
WHERE workspace_id = @workspace_id AND forgotten_at IS NULL ORDER BY id FOR UPDATE;

-- name: RestoreStandings :exec
UPDATE gateways g
SET revision = 0, acknowledged_at = NULL, digest = '', lease_number = s.number, lease_term_ms = s.wait_ms,
    lease_wait_ms = s.wait_ms, lease_over = false, lease_over_at = NULL, lease_granted_at = @at, left_at = NULL
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@lease_numbers::bigint[]) AS number, unnest(@lease_waits_ms::bigint[]) AS wait_ms) s
WHERE g.workspace_id = @workspace_id AND g.id = s.id;

-- A gateway key that processes may have enrolled with of which the database has never heard; one that enrols a single process
-- only where there is no other.
-- name: AnyGatewayKey :one
SELECT id FROM api_keys WHERE workspace_id = @workspace_id AND kind = 'gateway'
ORDER BY single_use, revoked_at IS NOT NULL, created_at DESC, id LIMIT 1;
