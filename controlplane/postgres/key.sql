-- name: InsertKey :exec
INSERT INTO api_keys (id, workspace_id, kind, name, principal_id, role, workspaces, allowed_networks, created_at, expires_at, revoked_at, replaces, single_use, hash)
VALUES (@id, @workspace_id, @kind, @name, @principal_id, @role, @workspaces, @allowed_networks, @created_at, @expires_at, @revoked_at, @replaces, @single_use, @hash);

-- name: Key :one
SELECT id, workspace_id, kind, name, principal_id, role, workspaces, allowed_networks, created_at, expires_at, revoked_at, last_used_at, replaces, single_use
FROM api_keys WHERE workspace_id = @workspace_id AND id = @id;

-- name: RevokeKey :exec
UPDATE api_keys SET revoked_at = @revoked_at::timestamptz WHERE workspace_id = @workspace_id AND id = @id AND revoked_at IS NULL;

-- name: EndKey :exec
UPDATE api_keys SET expires_at = @expires_at::timestamptz WHERE workspace_id = @workspace_id AND id = @id AND revoked_at IS NULL;

-- name: SuccessorOfKey :one
SELECT coalesce(max(id), '')::text FROM api_keys WHERE workspace_id = @workspace_id AND replaces = @id::text;

-- name: RevokeKeysOf :many
UPDATE api_keys SET revoked_at = @revoked_at::timestamptz
WHERE workspace_id = @workspace_id AND principal_id = @principal_id AND revoked_at IS NULL RETURNING id;

-- name: RevokeWideKeysOf :many
UPDATE api_keys SET revoked_at = @revoked_at::timestamptz
WHERE workspace_id = @workspace_id AND principal_id = @principal_id AND workspaces <> '{}' AND revoked_at IS NULL RETURNING id;

-- How owners can still come in: by ways that hold at an instant, and by those among them that no time ends. Besides keys
-- these are the identities of the deployment's OpenID provider, where it has one.
-- name: OwnersWaysIn :one
SELECT count(*) AS live, count(*) FILTER (WHERE way.lasting) AS lasting FROM (
    SELECT k.expires_at IS NULL AS lasting
    FROM api_keys k JOIN principals p ON p.workspace_id = @workspace_id AND p.id = k.principal_id
    WHERE k.workspace_id = @workspace_id AND k.kind = 'member' AND k.role IN ('', 'owner') AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > @at::timestamptz) AND p.role = 'owner' AND NOT p.suspended
    UNION ALL
    SELECT true
    FROM principals p CROSS JOIN LATERAL look_up_logins(p.person_id) l
    WHERE p.workspace_id = @workspace_id AND p.role = 'owner' AND NOT p.suspended AND p.person_id <> ''
        AND l.issuer = @provider::text
) way;

-- name: LiveAgentKeys :many
SELECT id, principal_id, hash, expires_at, allowed_networks FROM api_keys
WHERE workspace_id = @workspace_id AND kind IN ('agent', 'service') AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > @at::timestamptz)
ORDER BY created_at, id;

-- name: LockKey :one
SELECT single_use FROM api_keys WHERE workspace_id = @workspace_id AND id = @id FOR UPDATE;

-- name: CountGatewaysOfKey :one
SELECT count(*) FROM gateways WHERE workspace_id = @workspace_id AND key_id = @key_id;

-- Processes of a key that may decide or were heard of, also where others took their places: not those that left in order.
-- name: CountLiveGatewaysOfKey :one
SELECT count(*) FROM gateways
WHERE workspace_id = @workspace_id AND key_id = @key_id AND left_at IS NULL AND revoked_at IS NULL AND forgotten_at IS NULL
    AND (seen_at > @seen_after::timestamptz OR (lease_number > 0 AND NOT lease_over));
