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

-- name: RemoveOldRego :many
DELETE FROM rego_versions d WHERE d.workspace_id = @workspace_id AND d.id IN (
    SELECT v.id FROM rego_versions v WHERE v.workspace_id = @workspace_id AND NOT v.active AND v.id <> @latest::text
    ORDER BY v.number
    LIMIT greatest((SELECT count(*) FROM rego_versions c WHERE c.workspace_id = @workspace_id) - @keep::bigint, 0))
RETURNING d.id;

-- name: DeactivateRego :exec
UPDATE rego_versions SET active = false WHERE workspace_id = @workspace_id AND active;

-- name: ActivateRego :exec
UPDATE rego_versions SET active = true WHERE workspace_id = @workspace_id AND id = @id;
