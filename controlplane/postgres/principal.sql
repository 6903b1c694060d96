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

-- name: UpdatePrincipal :exec
UPDATE principals SET name = @name, metadata = @metadata WHERE workspace_id = @workspace_id AND id = @id;

-- name: SetSuspended :exec
UPDATE principals SET suspended = @suspended WHERE workspace_id = @workspace_id AND id = @id;
