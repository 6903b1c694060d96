-- name: InsertGateway :exec
INSERT INTO gateways (id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at,
    connected, enrolled_at, seen_at, left_at, envoy_refusal)
VALUES (@id, @workspace_id, @key_id, @public_key, @instance, @version, @formats, 0, NULL,
    false, @enrolled_at, @enrolled_at, NULL, '');

-- name: GatewayByPublicKey :one
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal
FROM gateways WHERE workspace_id = @workspace_id AND key_id = @key_id AND public_key = @public_key;

-- name: Gateway :one
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal
FROM gateways WHERE workspace_id = @workspace_id AND id = @id;

-- name: Gateways :many
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal
FROM gateways WHERE workspace_id = @workspace_id AND seen_at > @seen_after::timestamptz
ORDER BY left_at DESC NULLS FIRST, enrolled_at DESC, id LIMIT @size;

-- A process that starts where another of the same key ran takes its place; so does one whose key the other's was rotated
-- into.
-- name: SupersedeGateways :exec
WITH RECURSIVE lineage AS (
    SELECT k.id, k.replaces FROM api_keys k WHERE k.workspace_id = @workspace_id AND k.id = @key_id
    UNION
    SELECT k.id, k.replaces FROM api_keys k JOIN lineage l ON k.id = l.replaces WHERE k.workspace_id = @workspace_id
)
UPDATE gateways g SET left_at = @at::timestamptz, connected = false
WHERE g.workspace_id = @workspace_id AND g.key_id IN (SELECT l.id FROM lineage l) AND instance = @instance AND g.id <> @id
    AND left_at IS NULL AND (NOT connected OR seen_at < @stale::timestamptz);

-- name: ConnectGateway :execrows
UPDATE gateways SET connected = true, seen_at = @at, left_at = NULL
WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id;

-- name: DisconnectGateway :exec
UPDATE gateways SET connected = false, seen_at = @at, left_at = sqlc.narg(left_at)
WHERE workspace_id = @workspace_id AND id = @id;

-- name: SeeGateway :exec
UPDATE gateways SET connected = true, seen_at = @at WHERE workspace_id = @workspace_id AND id = @id;

-- A gateway acknowledges what there is: a revision beyond the workspace's own is not recorded.
-- name: AcknowledgeRevision :execrows
UPDATE gateways g SET revision = @revision, acknowledged_at = @at::timestamptz, seen_at = @at
FROM workspaces w
WHERE g.workspace_id = @workspace_id AND g.key_id = @key_id AND g.id = @id AND w.id = @workspace_id
    AND g.revision <= @revision AND @revision <= w.revision;

-- name: SetEnvoyRefusal :exec
UPDATE gateways SET envoy_refusal = @envoy_refusal, seen_at = @at
WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id;

-- name: LockGateway :one
SELECT id FROM gateways WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id FOR UPDATE;
