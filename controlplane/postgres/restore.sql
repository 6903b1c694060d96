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
