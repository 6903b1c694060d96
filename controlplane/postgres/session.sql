-- name: GroupRoles :many
SELECT group_name AS "group", role FROM group_roles WHERE workspace_id = @workspace_id ORDER BY group_name;

-- name: DeleteGroupRoles :exec
DELETE FROM group_roles WHERE workspace_id = @workspace_id;

-- name: InsertGroupRole :exec
INSERT INTO group_roles (workspace_id, group_name, role) VALUES (@workspace_id, @group_name, @role);

-- name: GroupMember :one
SELECT role FROM group_members WHERE workspace_id = @workspace_id AND principal_id = @principal_id;

-- name: KeepGroupMember :exec
INSERT INTO group_members (workspace_id, principal_id, role) VALUES (@workspace_id, @principal_id, @role)
ON CONFLICT (workspace_id, principal_id) DO UPDATE SET role = @role WHERE group_members.workspace_id = @workspace_id;

-- name: DeleteGroupMember :exec
DELETE FROM group_members WHERE workspace_id = @workspace_id AND principal_id = @principal_id;
