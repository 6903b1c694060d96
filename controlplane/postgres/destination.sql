-- name: InsertDestination :exec
INSERT INTO destinations (id, workspace_id, name, host, ports, tls, ca, connect_to, addresses, credential,
    max_duration_seconds, encoded_slash, rules, created_at, client_certificate, tunnel, base_path)
VALUES (@id, @workspace_id, @name, @host, @ports, @tls, @ca, @connect_to, @addresses, @credential,
    @max_duration_seconds, @encoded_slash, @rules, @created_at, @client_certificate, @tunnel, @base_path);

-- name: Destination :one
SELECT id, workspace_id, name, host, ports, tls, ca, connect_to, addresses, credential, max_duration_seconds,
    encoded_slash, rules, created_at, client_certificate, tunnel, base_path
FROM destinations WHERE workspace_id = @workspace_id AND id = @id;

-- name: AllDestinations :many
SELECT id, workspace_id, name, host, ports, tls, ca, connect_to, addresses, credential, max_duration_seconds,
    encoded_slash, rules, created_at, client_certificate, tunnel, base_path
FROM destinations WHERE workspace_id = @workspace_id ORDER BY created_at, id;

-- name: UpdateDestination :exec
UPDATE destinations SET name = @name, host = @host, ports = @ports, tls = @tls, ca = @ca, connect_to = @connect_to,
    addresses = @addresses, credential = @credential, max_duration_seconds = @max_duration_seconds,
    encoded_slash = @encoded_slash, rules = @rules, client_certificate = @client_certificate, tunnel = @tunnel,
    base_path = @base_path
WHERE workspace_id = @workspace_id AND id = @id;

-- name: DeleteDestination :exec
DELETE FROM destinations WHERE workspace_id = @workspace_id AND id = @id;
