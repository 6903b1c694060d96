-- name: InsertKey :exec
INSERT INTO api_keys (id, workspace_id, kind, name, principal_id, created_at, expires_at, revoked_at, hash)
VALUES (@id, @workspace_id, @kind, @name, @principal_id, @created_at, @expires_at, @revoked_at, @hash);

-- name: Key :one
SELECT id, workspace_id, kind, name, principal_id, created_at, expires_at, revoked_at
FROM api_keys WHERE workspace_id = @workspace_id AND id = @id;

-- name: Keys :many
SELECT id, workspace_id, kind, name, principal_id, created_at, expires_at, revoked_at
FROM api_keys
WHERE workspace_id = @workspace_id
    AND (@with_kind::text = '' OR kind = @with_kind)
    AND (@with_principal::text = '' OR principal_id = @with_principal)
    AND (@after_id::text = '' OR (created_at, id) < (@after_time::timestamptz, @after_id))
ORDER BY created_at DESC, id DESC LIMIT @size;

-- name: RevokeKey :exec
UPDATE api_keys SET revoked_at = @revoked_at::timestamptz WHERE workspace_id = @workspace_id AND id = @id AND revoked_at IS NULL;

-- name: CountOtherOwnerKeys :one
SELECT count(*) FROM api_keys k JOIN principals p ON p.workspace_id = @workspace_id AND p.id = k.principal_id
WHERE k.workspace_id = @workspace_id AND k.id <> @id AND k.kind = 'owner' AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > @at::timestamptz) AND NOT p.suspended;

-- name: LiveAgentKeys :many
SELECT id, principal_id, hash, expires_at FROM api_keys
WHERE workspace_id = @workspace_id AND kind = 'agent' AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > @at::timestamptz)
ORDER BY created_at, id;
