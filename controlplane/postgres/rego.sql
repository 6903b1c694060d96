-- name: NextRegoNumber :one
SELECT (coalesce(max(number), 0) + 1)::bigint FROM rego_versions WHERE workspace_id = @workspace_id;

-- name: InsertRegoVersion :exec
INSERT INTO rego_versions (id, workspace_id, number, modules, data, message, active, created_by, created_at)
VALUES (@id, @workspace_id, @number, @modules, @data, @message, @active, @created_by, @created_at);

-- name: RegoVersion :one
SELECT id, workspace_id, number, modules, data, message, active, created_by, created_at
FROM rego_versions WHERE workspace_id = @workspace_id AND id = @id;

-- name: ActiveRego :one
SELECT id, workspace_id, number, modules, data, message, active, created_by, created_at
FROM rego_versions WHERE workspace_id = @workspace_id AND active;

-- name: RegoVersions :many
SELECT id, workspace_id, number, modules, data, message, active, created_by, created_at
FROM rego_versions
WHERE workspace_id = @workspace_id
    AND (@after_id::text = '' OR (created_at, id) < (@after_time::timestamptz, @after_id))
ORDER BY created_at DESC, id DESC LIMIT @size;

-- name: DeactivateRego :exec
UPDATE rego_versions SET active = false WHERE workspace_id = @workspace_id AND active;

-- name: ActivateRego :exec
UPDATE rego_versions SET active = true WHERE workspace_id = @workspace_id AND id = @id;
