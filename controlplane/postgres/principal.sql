-- name: InsertPrincipal :exec
INSERT INTO principals (id, workspace_id, name, type, role, metadata, suspended, created_at)
VALUES (@id, @workspace_id, @name, @type, @role, @metadata, @suspended, @created_at);

-- name: Principal :one
SELECT id, workspace_id, name, type, role, metadata, suspended, created_at
FROM principals WHERE workspace_id = @workspace_id AND id = @id;

-- name: PrincipalsAmong :many
SELECT id, workspace_id, name, type, role, metadata, suspended, created_at
FROM principals WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]);

-- name: AllPrincipals :many
SELECT id, workspace_id, name, type, role, metadata, suspended, created_at
FROM principals WHERE workspace_id = @workspace_id ORDER BY created_at, id;

-- name: Principals :many
SELECT id, workspace_id, name, type, role, metadata, suspended, created_at
FROM principals
WHERE workspace_id = @workspace_id
    AND (@with_type::text = '' OR type = @with_type)
    AND (sqlc.narg(with_suspended)::boolean IS NULL OR suspended = sqlc.narg(with_suspended))
    AND (@after_id::text = '' OR (created_at, id) < (@after_time::timestamptz, @after_id))
ORDER BY created_at DESC, id DESC LIMIT @size;

-- name: SetSuspended :exec
UPDATE principals SET suspended = @suspended WHERE workspace_id = @workspace_id AND id = @id;
