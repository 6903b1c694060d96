-- Issuers whose tokens identify workloads, and the keys that are fetched from them.

-- +goose Up

-- A token names its issuer and nothing else, so that no two of a workspace have one name.
CREATE TABLE issuers (
    id                   text PRIMARY KEY,
    workspace_id         text NOT NULL REFERENCES workspaces (id),
    name                 text NOT NULL,
    kind                 text NOT NULL CHECK (kind IN ('oidc', 'kubernetes', 'spiffe')),
    issuer               text NOT NULL,
    jwks_url             text NOT NULL,
    jwks                 json,
    ca                   text NOT NULL,
    private_addresses    cidr[] NOT NULL,
    audiences            text[] NOT NULL CHECK (audiences <> '{}'),
    claim                text NOT NULL,
    algorithms           text[] NOT NULL,
    max_lifetime_seconds bigint NOT NULL CHECK (max_lifetime_seconds > 0),
    bindings             jsonb NOT NULL,
    created_at           timestamptz NOT NULL,
    UNIQUE (workspace_id, id),
    UNIQUE (workspace_id, name),
    UNIQUE (workspace_id, issuer)
);
SELECT isolate_workspaces('issuers', 'workspace_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON issuers TO caracal_app;
CREATE POLICY look_up ON issuers FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');

-- The keys of an issuer as gateways get them, and how fetching them goes. keys is empty until they were fetched for the
-- first time, and again after usable_until, when they could not be fetched for too long. next_attempt_at is NULL for keys
-- that are given and never fetched; while one replica fetches, it keeps the others away.
CREATE TABLE issuer_keys (
    workspace_id    text NOT NULL,
    issuer_id       text NOT NULL,
    keys            json NOT NULL,
    fetched_at      timestamptz,
    usable_until    timestamptz,
    attempted_at    timestamptz,
    next_attempt_at timestamptz,
    failure         text NOT NULL,
    PRIMARY KEY (workspace_id, issuer_id),
    FOREIGN KEY (workspace_id, issuer_id) REFERENCES issuers (workspace_id, id)
);
CREATE INDEX issuer_keys_due ON issuer_keys (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
SELECT isolate_workspaces('issuer_keys', 'workspace_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON issuer_keys TO caracal_app;
CREATE POLICY look_up ON issuer_keys FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');

-- Whose keys are to be fetched? Ids only, for the replica that fetches; each is then read in a transaction of its own
-- workspace.
-- +goose StatementBegin
CREATE FUNCTION look_up_due_issuers(due timestamptz)
    RETURNS TABLE (workspace_id text, issuer_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT k.workspace_id, k.issuer_id
    FROM public.issuer_keys k JOIN public.workspaces w ON w.id = k.workspace_id
    WHERE k.next_attempt_at <= due AND w.deleted_at IS NULL AND w.archived_at IS NULL
    ORDER BY k.next_attempt_at LIMIT 100;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_due_issuers(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_due_issuers(timestamptz) TO caracal_app;

-- Which workspace has a slug? For whoever brings a token of an issuer that the workspace trusts, and nothing else yet.
-- +goose StatementBegin
CREATE FUNCTION look_up_slug(named text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    SELECT w.id INTO found FROM public.workspaces w WHERE w.slug = named;
    PERFORM set_config('caracal.look_up', 'off', true);
    RETURN found;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_slug(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_slug(text) TO caracal_app;
