-- +goose Up

-- The CA by which a workspace's gateways end the TLS of their clients: the certificate in DER, and the private key sealed
-- under the deployment's master key. It stays as it is: clients were told to trust it.
CREATE TABLE inspection_authorities (
    workspace_id text PRIMARY KEY REFERENCES workspaces (id),
    certificate  bytea NOT NULL,
    sealed       bytea NOT NULL,
    not_before   timestamptz NOT NULL,
    not_after    timestamptz NOT NULL
);
SELECT isolate_workspaces('inspection_authorities', 'workspace_id');
GRANT SELECT, INSERT ON inspection_authorities TO caracal_app;

-- The certificates that gateway processes have under it, while they are good.
CREATE TABLE inspection_certificates (
    workspace_id text NOT NULL,
    gateway_id   text NOT NULL,
    serial       text NOT NULL,
    issued_at    timestamptz NOT NULL,
    not_after    timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, gateway_id, serial),
    FOREIGN KEY (workspace_id, gateway_id) REFERENCES gateways (workspace_id, id)
);
SELECT isolate_workspaces('inspection_certificates', 'workspace_id');
GRANT SELECT, INSERT, DELETE ON inspection_certificates TO caracal_app;
