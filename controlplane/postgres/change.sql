-- name: RevisionTime :one
SELECT revised_at FROM revisions WHERE workspace_id = @workspace_id AND revision = @revision;

-- name: CountRevisionsSince :one
SELECT count(*) FROM revisions WHERE workspace_id = @workspace_id AND revision > @revision;

-- name: ChangesSince :many
SELECT DISTINCT kind, id FROM changes WHERE workspace_id = @workspace_id AND revision > @revision LIMIT @most::bigint;

-- Mandates of which a snapshot as of one time tells and one as of another does not, for no other reason.
-- name: MandatesEndingBetween :many
SELECT e.id FROM mandates e
WHERE e.workspace_id = @workspace_id AND e.valid_until > @after AND e.valid_until <= @until
UNION
SELECT r.id FROM mandates r
WHERE r.workspace_id = @workspace_id AND r.revoked_at > @after AND r.revoked_at <= @until;

-- name: AgentKeysEndingBetween :many
SELECT id FROM api_keys
WHERE workspace_id = @workspace_id AND kind IN ('agent', 'service')
    AND expires_at > @after::timestamptz AND expires_at <= @until::timestamptz;

-- name: MandatesOf :many
SELECT id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until, parent_id,
    delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_at, revoked_by,
    created_at, signature, confirmation
FROM mandates
WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[])
    AND valid_until > @ending AND (revoked_at IS NULL OR revoked_at > @ending)
ORDER BY level, id;

-- name: LiveAgentKeysOf :many
SELECT id, principal_id, hash, expires_at, allowed_networks FROM api_keys
WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) AND kind IN ('agent', 'service') AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > @at::timestamptz)
ORDER BY id;
