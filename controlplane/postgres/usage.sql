-- name: KeepKeysUsed :exec
UPDATE api_keys k SET last_used_at = used.at
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@times::timestamptz[]) AS at) used
WHERE k.workspace_id = @workspace_id AND k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at);
