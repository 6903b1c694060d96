-- name: InsertPerson :exec
INSERT INTO people (id, name, created_at) VALUES (@id, @name, @created_at);

-- name: SetMember :exec
UPDATE principals SET person_id = @person_id, role = @role, name = @name WHERE workspace_id = @workspace_id AND id = @id;

-- name: Member :one
SELECT id, workspace_id, person_id, name, role, suspended, created_at
FROM principals WHERE workspace_id = @workspace_id AND id = @id AND role <> '';

-- name: PrincipalOfPerson :one
SELECT id FROM principals WHERE workspace_id = @workspace_id AND person_id = @person_id;
