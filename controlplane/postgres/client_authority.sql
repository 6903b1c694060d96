-- name: InsertClientAuthority :exec
INSERT INTO client_authorities (id, workspace_id, name, roots, intermediates, bindings, created_at)
VALUES (@id, @workspace_id, @name, @roots, @intermediates, @bindings, @created_at);

-- name: ClientAuthority :one
SELECT id, workspace_id, name, roots, intermediates, bindings, created_at
FROM client_authorities WHERE workspace_id = @workspace_id AND id = @id;

-- name: ClientAuthorities :many
SELECT id, workspace_id, name, roots, intermediates, bindings, created_at
FROM client_authorities WHERE workspace_id = @workspace_id ORDER BY created_at, id;

-- name: UpdateClientAuthority :exec
UPDATE client_authorities SET name = @name, roots = @roots, intermediates = @intermediates, bindings = @bindings
WHERE workspace_id = @workspace_id AND id = @id;

-- name: DeleteClientAuthority :exec
DELETE FROM client_authorities WHERE workspace_id = @workspace_id AND id = @id;
