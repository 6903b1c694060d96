-- The state of a deployment: its workspaces and everything in them but events.
--
-- Row-level security separates workspaces. Every table of a workspace is FORCEd, so that it holds for its owner too,
-- and has one policy for the application's role, caracal_app, which owns nothing and cannot bypass it. A transaction
-- names its workspace with set_config('caracal.workspace', …, true).
--
-- Functions name pg_temp as the last schema that they search. Unnamed it would be the first, and tables and types that
-- the application makes there would stand in for what a function of the owner means.

-- +goose Up

-- The workspace of this transaction. PostgreSQL reads a setting as empty once a SET LOCAL of it has ended, so that
-- "never set" and "of an earlier transaction" have to be refused apart.
-- +goose StatementBegin
CREATE FUNCTION current_workspace() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    workspace text := current_setting('caracal.workspace');
BEGIN
    IF workspace = '' THEN
        RAISE EXCEPTION 'caracal.workspace is not set in this transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN workspace;
END
$$;
-- +goose StatementEnd

-- Puts a table under row-level security: visible to caracal_app for the transaction's workspace only.
-- +goose StatementBegin
CREATE FUNCTION isolate_workspaces(relation regclass, workspace_column text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format('CREATE POLICY workspace ON %s TO caracal_app USING (%I = (SELECT public.current_workspace())) '
        'WITH CHECK (%I = (SELECT public.current_workspace()))', relation, workspace_column, workspace_column);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION isolate_workspaces(regclass, text) FROM PUBLIC;

-- One row. The timeline is the history that revisions belong to: a restored backup starts another.
CREATE TABLE deployment (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    id         text NOT NULL,
    timeline   text NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO deployment (id, timeline, created_at)
VALUES ('dpl_' || replace(gen_random_uuid()::text, '-', ''), gen_random_uuid()::text, now());
GRANT SELECT ON deployment TO caracal_app;

-- revision and event_sequence are counters whose row lock orders the transactions that write: numbers are taken in
-- the order of their commits, without gaps.
CREATE TABLE workspaces (
    id             text PRIMARY KEY,
    slug           text NOT NULL UNIQUE,
    name           text NOT NULL,
    description    text NOT NULL,
    settings       jsonb NOT NULL,
    revision       bigint NOT NULL,
    -- When the revision was taken. What a bundle of it holds is judged as of then, so that the same revision is always
    -- the same bundle.
    revised_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    event_sequence bigint NOT NULL
);
SELECT isolate_workspaces('workspaces', 'id');
GRANT SELECT, INSERT, UPDATE ON workspaces TO caracal_app;

CREATE TABLE principals (
    id           text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces (id),
    name         text NOT NULL,
    type         text NOT NULL CHECK (type IN ('agent', 'user', 'service')),
    role         text NOT NULL CHECK (role = '' OR type = 'user'),
    metadata     jsonb NOT NULL,
    suspended    boolean NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (workspace_id, id)
);
CREATE INDEX principals_newest ON principals (workspace_id, created_at DESC, id DESC);
SELECT isolate_workspaces('principals', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON principals TO caracal_app;

CREATE TABLE policies (
    id                   text PRIMARY KEY,
    workspace_id         text NOT NULL REFERENCES workspaces (id),
    principal_id         text NOT NULL,
    allowed_resources    text[] NOT NULL,
    allowed_actions      text[] NOT NULL,
    max_validity_seconds bigint NOT NULL CHECK (max_validity_seconds > 0),
    delegation_depth     integer NOT NULL CHECK (delegation_depth BETWEEN 0 AND 16),
    version              bigint NOT NULL,
    active               boolean NOT NULL,
    created_at           timestamptz NOT NULL,
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, principal_id) REFERENCES principals (workspace_id, id)
);
CREATE INDEX policies_newest ON policies (workspace_id, created_at DESC, id DESC);
CREATE INDEX policies_of_principal ON policies (workspace_id, principal_id);
SELECT isolate_workspaces('policies', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON policies TO caracal_app;

CREATE TABLE policy_grantors (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    policy_id    text NOT NULL,
    principal_id text NOT NULL,
    joined_at    timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, policy_id, principal_id),
    FOREIGN KEY (workspace_id, policy_id) REFERENCES policies (workspace_id, id),
    FOREIGN KEY (workspace_id, principal_id) REFERENCES principals (workspace_id, id)
);
SELECT isolate_workspaces('policy_grantors', 'workspace_id');
GRANT SELECT, INSERT ON policy_grantors TO caracal_app;

-- revoked_revision is the revision of the revocation that ended the mandate. The generated column carries the foreign
-- key of revoked_by, which is empty and not NULL while nobody has.
CREATE TABLE mandates (
    id                text PRIMARY KEY,
    workspace_id      text NOT NULL REFERENCES workspaces (id),
    issuer_id         text NOT NULL,
    subject_id        text NOT NULL,
    resource_scope    text[] NOT NULL,
    action_scope      text[] NOT NULL,
    valid_from        timestamptz NOT NULL,
    valid_until       timestamptz NOT NULL,
    parent_id         text,
    delegation_depth  integer NOT NULL CHECK (delegation_depth BETWEEN 0 AND 16),
    level             integer NOT NULL CHECK (level BETWEEN 0 AND 16),
    requested_by      text NOT NULL,
    consent           text NOT NULL CHECK (consent IN ('explicit', 'standing')),
    policy_id         text NOT NULL,
    policy_version    bigint NOT NULL,
    revoked           boolean NOT NULL,
    revoked_at        timestamptz,
    revoked_by        text NOT NULL,
    created_at        timestamptz NOT NULL,
    signature         text NOT NULL,
    revoked_revision  bigint,
    revoked_by_member text GENERATED ALWAYS AS (nullif(revoked_by, '')) STORED,
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, issuer_id) REFERENCES principals (workspace_id, id),
    FOREIGN KEY (workspace_id, subject_id) REFERENCES principals (workspace_id, id),
    FOREIGN KEY (workspace_id, requested_by) REFERENCES principals (workspace_id, id),
    FOREIGN KEY (workspace_id, revoked_by_member) REFERENCES principals (workspace_id, id),
    FOREIGN KEY (workspace_id, policy_id) REFERENCES policies (workspace_id, id),
    FOREIGN KEY (workspace_id, parent_id) REFERENCES mandates (workspace_id, id),
    CHECK (valid_from < valid_until),
    CHECK ((parent_id IS NULL) = (level = 0)),
    CHECK (revoked = (revoked_at IS NOT NULL) AND revoked = (revoked_revision IS NOT NULL))
);
CREATE INDEX mandates_newest ON mandates (workspace_id, created_at DESC, id DESC);
CREATE INDEX mandates_of_subject ON mandates (workspace_id, subject_id, created_at DESC, id DESC);
CREATE INDEX mandates_of_issuer ON mandates (workspace_id, issuer_id, created_at DESC, id DESC);
CREATE INDEX mandates_of_parent ON mandates (workspace_id, parent_id);
CREATE INDEX mandates_by_end ON mandates (workspace_id, valid_until);
SELECT isolate_workspaces('mandates', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON mandates TO caracal_app;

-- What the service has decided in Go holds here once more, whatever is inserted and however transactions interleave:
-- the parent is locked against revocation until the child is committed, lives, and bounds the child.
-- +goose StatementBegin
CREATE FUNCTION child_within_parent() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parent public.mandates%ROWTYPE;
BEGIN
    SELECT * INTO STRICT parent FROM public.mandates m
    WHERE m.workspace_id = NEW.workspace_id AND m.id = NEW.parent_id FOR SHARE;
    IF parent.revoked OR NEW.level <> parent.level + 1 OR NEW.delegation_depth >= parent.delegation_depth
        OR NEW.valid_from < parent.valid_from OR NEW.valid_until > parent.valid_until
        OR NOT NEW.action_scope <@ parent.action_scope THEN
        RAISE EXCEPTION 'the child exceeds its parent or the parent is revoked'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'child_within_parent';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER child_within_parent BEFORE INSERT ON mandates
    FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION child_within_parent();

-- A mandate's terms are signed: they never change, and a revocation is never undone.
-- +goose StatementBegin
CREATE FUNCTION terms_never_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (NEW.id, NEW.workspace_id, NEW.issuer_id, NEW.subject_id, NEW.resource_scope, NEW.action_scope, NEW.valid_from,
        NEW.valid_until, NEW.parent_id, NEW.delegation_depth, NEW.level, NEW.requested_by, NEW.consent, NEW.policy_id,
        NEW.policy_version, NEW.created_at, NEW.signature)
        IS DISTINCT FROM
       (OLD.id, OLD.workspace_id, OLD.issuer_id, OLD.subject_id, OLD.resource_scope, OLD.action_scope, OLD.valid_from,
        OLD.valid_until, OLD.parent_id, OLD.delegation_depth, OLD.level, OLD.requested_by, OLD.consent, OLD.policy_id,
        OLD.policy_version, OLD.created_at, OLD.signature)
        OR OLD.revoked THEN
        RAISE EXCEPTION 'the terms of a mandate never change, nor does its revocation'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'terms_never_change';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER terms_never_change BEFORE UPDATE ON mandates
    FOR EACH ROW EXECUTE FUNCTION terms_never_change();

CREATE TABLE destinations (
    id                   text PRIMARY KEY,
    workspace_id         text NOT NULL REFERENCES workspaces (id),
    name                 text NOT NULL,
    host                 text NOT NULL,
    ports                integer[] NOT NULL,
    tls                  text NOT NULL,
    ca                   text NOT NULL,
    connect_to           text NOT NULL,
    addresses            cidr[] NOT NULL,
    credential           jsonb,
    max_duration_seconds bigint NOT NULL,
    encoded_slash        text NOT NULL,
    rules                jsonb NOT NULL,
    created_at           timestamptz NOT NULL,
    UNIQUE (workspace_id, id),
    UNIQUE (workspace_id, name)
);
CREATE INDEX destinations_newest ON destinations (workspace_id, created_at DESC, id DESC);
SELECT isolate_workspaces('destinations', 'workspace_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON destinations TO caracal_app;

-- A version is immutable but for being the active one.
CREATE TABLE rego_versions (
    id           text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces (id),
    number       bigint NOT NULL,
    modules      jsonb NOT NULL,
    data         jsonb NOT NULL,
    message      text NOT NULL,
    active       boolean NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (workspace_id, number),
    FOREIGN KEY (workspace_id, created_by) REFERENCES principals (workspace_id, id)
);
CREATE UNIQUE INDEX rego_versions_one_active ON rego_versions (workspace_id) WHERE active;
SELECT isolate_workspaces('rego_versions', 'workspace_id');
GRANT SELECT, INSERT ON rego_versions TO caracal_app;
GRANT UPDATE (active) ON rego_versions TO caracal_app;

-- Of an API key only the SHA-256 of its 256 random bits is kept. A gateway's key belongs to no principal: the generated
-- column carries the foreign key of the others.
CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    workspace_id text NOT NULL REFERENCES workspaces (id),
    kind         text NOT NULL CHECK (kind IN ('owner', 'agent', 'gateway')),
    name         text NOT NULL,
    principal_id text NOT NULL CHECK ((principal_id = '') = (kind = 'gateway')),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    holder       text GENERATED ALWAYS AS (nullif(principal_id, '')) STORED,
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, holder) REFERENCES principals (workspace_id, id)
);
CREATE INDEX api_keys_newest ON api_keys (workspace_id, created_at DESC, id DESC);
SELECT isolate_workspaces('api_keys', 'workspace_id');
GRANT SELECT, INSERT ON api_keys TO caracal_app;
GRANT UPDATE (revoked_at) ON api_keys TO caracal_app;

-- Private keys, each sealed under the deployment's master key, which is not in the database.
CREATE TABLE signing_keys (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    id           text NOT NULL,
    purpose      text NOT NULL CHECK (purpose IN ('root', 'token', 'mandate', 'bundle')),
    sealed       bytea NOT NULL,
    not_before   timestamptz NOT NULL,
    retire_at    timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
SELECT isolate_workspaces('signing_keys', 'workspace_id');
GRANT SELECT, INSERT ON signing_keys TO caracal_app;

-- The enrolled processes of gateways. revision is the highest that a process acknowledged; left_at is when it ended on
-- purpose or another took its place.
CREATE TABLE gateways (
    id              text PRIMARY KEY,
    workspace_id    text NOT NULL REFERENCES workspaces (id),
    key_id          text NOT NULL,
    public_key      bytea NOT NULL CHECK (length(public_key) = 32),
    instance        text NOT NULL,
    version         text NOT NULL,
    formats         integer[] NOT NULL,
    revision        bigint NOT NULL,
    acknowledged_at timestamptz,
    connected       boolean NOT NULL,
    enrolled_at     timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,
    left_at         timestamptz,
    envoy_refusal   text NOT NULL,
    UNIQUE (workspace_id, id),
    UNIQUE (workspace_id, key_id, public_key),
    FOREIGN KEY (workspace_id, key_id) REFERENCES api_keys (workspace_id, id)
);
SELECT isolate_workspaces('gateways', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON gateways TO caracal_app;

-- What a write answered, kept in the transaction of its change, so that a retry has no second effect. The answer may
-- hold an API key that is told once: it is sealed under the master key.
CREATE TABLE idempotency (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    caller       text NOT NULL,
    key          text NOT NULL,
    operation    text NOT NULL,
    digest       bytea NOT NULL,
    revision     bigint NOT NULL,
    sealed       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, caller, key)
);
CREATE INDEX idempotency_by_age ON idempotency (workspace_id, created_at);
SELECT isolate_workspaces('idempotency', 'workspace_id');
GRANT SELECT, INSERT, DELETE ON idempotency TO caracal_app;

-- Three look-ups cannot name a workspace, since it is what they find. Each is a function of the owner, for whom a policy
-- opens the rows only while the function runs; caracal_app can call the functions and nothing else. (A function cannot
-- carry a setting of ours as a clause: only a superuser may make one that does.)
CREATE POLICY look_up ON workspaces FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON api_keys FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');

-- Which workspace does a key belong to, and what proves it? The bearer of an API key names the key only. It finds one
-- key at a time by 128 random bits: nothing can be listed.
-- +goose StatementBegin
CREATE FUNCTION look_up_key(key_id text)
    RETURNS TABLE (workspace_id text, kind text, principal_id text, hash bytea, expires_at timestamptz, revoked_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT k.workspace_id, k.kind, k.principal_id, k.hash, k.expires_at, k.revoked_at
    FROM public.api_keys k WHERE k.id = key_id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_key(text) TO caracal_app;

-- Which workspaces are there? For the deployment's setup key, and to find the workspace of a slug when that key
-- repeats a creation. There is no look-up from other ids to their workspace: a key belongs to one workspace, and what
-- is elsewhere does not exist for it.
-- +goose StatementBegin
CREATE FUNCTION look_up_workspaces()
    RETURNS TABLE (id text, slug text, name text, description text, settings jsonb, revision bigint, created_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT w.id, w.slug, w.name, w.description, w.settings, w.revision, w.created_at
    FROM public.workspaces w ORDER BY w.created_at, w.id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_workspaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_workspaces() TO caracal_app;

-- How far are the workspaces whose gateways hang on this replica? One cheap question a second for all of them.
-- +goose StatementBegin
CREATE FUNCTION look_up_revisions(workspaces text[])
    RETURNS TABLE (id text, revision bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT w.id, w.revision FROM public.workspaces w WHERE w.id = ANY (workspaces);
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_revisions(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_revisions(text[]) TO caracal_app;
