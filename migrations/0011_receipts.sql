-- Receipts: what each revocation did, and where it is in force since when.

-- +goose Up

-- A workspace signs its receipts with keys of their own.
ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_purpose_check,
    ADD CONSTRAINT signing_keys_purpose_check CHECK (purpose IN ('root', 'token', 'mandate', 'bundle', 'receipt'));

-- One revision has one receipt. A mandate finds the receipt of what ended it by its revoked_revision. target_id is what
-- the revocation was asked for, empty for a filter, which target holds. mandates_digest is the SHA-256 of the ids of the
-- mandates that were ended, in the order of their bytes, each with a line feed behind it.
--
-- A receipt is pending until every gateway that it waits for is done. One that is undone before is withdrawn.
CREATE TABLE receipts (
    id              text PRIMARY KEY,
    workspace_id    text NOT NULL REFERENCES workspaces (id),
    kind            text NOT NULL CHECK (kind IN ('mandate', 'mandates', 'principal', 'workspace', 'gateway')),
    target_id       text NOT NULL CHECK ((target_id = '') = (kind = 'mandates')),
    target          jsonb NOT NULL,
    state           text NOT NULL CHECK (state IN ('pending', 'enforced', 'withdrawn')),
    revision        bigint NOT NULL,
    timeline        text NOT NULL,
    requested_by    text NOT NULL,
    revoked_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    mandate_count   bigint NOT NULL,
    mandates_digest bytea NOT NULL CHECK (length(mandates_digest) = 32),
    settling_ms     bigint NOT NULL,
    effective_at    timestamptz,
    withdrawn_at    timestamptz,
    signature       text NOT NULL,
    signed_by       text NOT NULL,
    UNIQUE (workspace_id, id),
    UNIQUE (workspace_id, revision),
    CHECK ((state = 'enforced') = (effective_at IS NOT NULL)),
    CHECK ((state = 'withdrawn') = (withdrawn_at IS NOT NULL)),
    CHECK ((state = 'enforced') = (signature <> ''))
);
CREATE INDEX receipts_newest ON receipts (workspace_id, created_at DESC, id DESC);
CREATE INDEX receipts_of_target ON receipts (workspace_id, target_id) WHERE state = 'pending';
CREATE INDEX receipts_pending ON receipts (workspace_id) WHERE state = 'pending';
CREATE INDEX receipts_of_key ON receipts (workspace_id, signed_by) WHERE signed_by <> '';
SELECT isolate_workspaces('receipts', 'workspace_id');
GRANT SELECT, INSERT ON receipts TO caracal_app;
GRANT UPDATE (state, effective_at, withdrawn_at, signature, signed_by) ON receipts TO caracal_app;
CREATE POLICY look_up ON receipts FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');

-- The gateways that a revocation waits for: all that might still decide without knowing of it when it was made. lease is
-- the number of the lease that is waited for, fenced_until an estimate for people of when it is over.
CREATE TABLE receipt_gateways (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    receipt_id   text NOT NULL,
    gateway_id   text NOT NULL,
    instance     text NOT NULL,
    lease        bigint NOT NULL,
    fenced_until timestamptz,
    enforced_at  timestamptz,
    fenced_at    timestamptz,
    streams_cut  bigint NOT NULL,
    PRIMARY KEY (workspace_id, receipt_id, gateway_id),
    FOREIGN KEY (workspace_id, receipt_id) REFERENCES receipts (workspace_id, id),
    FOREIGN KEY (workspace_id, gateway_id) REFERENCES gateways (workspace_id, id),
    CHECK (enforced_at IS NULL OR fenced_at IS NULL)
);
CREATE INDEX receipt_gateways_open ON receipt_gateways (workspace_id, gateway_id)
    WHERE enforced_at IS NULL AND fenced_at IS NULL;
SELECT isolate_workspaces('receipt_gateways', 'workspace_id');
GRANT SELECT, INSERT ON receipt_gateways TO caracal_app;
GRANT UPDATE (enforced_at, fenced_at, streams_cut) ON receipt_gateways TO caracal_app;

-- The revision of the suspension or the deletion that is in force, by which its receipt is found; NULL for one from before
-- there were receipts.
ALTER TABLE principals ADD COLUMN suspended_revision bigint;
ALTER TABLE workspaces ADD COLUMN deleted_revision bigint;
-- +goose StatementBegin
CREATE FUNCTION note_suspension() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.suspended_revision := NULL;
    IF NEW.suspended THEN
        SELECT w.revision INTO STRICT NEW.suspended_revision FROM public.workspaces w WHERE w.id = NEW.workspace_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER note_suspension BEFORE UPDATE OF suspended ON principals
    FOR EACH ROW WHEN (OLD.suspended <> NEW.suspended) EXECUTE FUNCTION note_suspension();
-- +goose StatementBegin
CREATE FUNCTION note_deletion() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.deleted_revision := NULL;
    IF NEW.deleted_at IS NOT NULL THEN
        NEW.deleted_revision := NEW.revision;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER note_deletion BEFORE UPDATE OF deleted_at ON workspaces
    FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at) EXECUTE FUNCTION note_deletion();

-- What is said of the end of a revocation is said once.
-- +goose StatementBegin
CREATE FUNCTION receipt_stays() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF OLD.state <> 'pending' THEN
        RAISE EXCEPTION 'a receipt that is finished never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipt_stays';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER receipt_stays BEFORE UPDATE ON receipts FOR EACH ROW EXECUTE FUNCTION receipt_stays();

CREATE INDEX mandates_by_revocation ON mandates (workspace_id, revoked_revision, level, id) WHERE revoked_revision IS NOT NULL;

-- The longest time that a request without a watch may have been given in a workspace, in seconds. It never falls: a
-- gateway may be behind in the catalog, and a request that it let through lasts as long as it was given.
CREATE TABLE short_requests (
    workspace_id text PRIMARY KEY REFERENCES workspaces (id),
    seconds      bigint NOT NULL
);
SELECT isolate_workspaces('short_requests', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON short_requests TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION note_short_destination() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.short_requests AS s (workspace_id, seconds)
    SELECT w.id, NEW.max_duration_seconds FROM public.workspaces w
    WHERE w.id = NEW.workspace_id
        AND NEW.max_duration_seconds BETWEEN 1 AND coalesce((w.settings ->> 'short_request_seconds')::bigint, 2)
    ON CONFLICT (workspace_id) DO UPDATE SET seconds = greatest(s.seconds, EXCLUDED.seconds);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER note_short_destination AFTER INSERT OR UPDATE OF max_duration_seconds ON destinations
    FOR EACH ROW EXECUTE FUNCTION note_short_destination();

-- +goose StatementBegin
CREATE FUNCTION note_short_limit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.short_requests AS s (workspace_id, seconds)
    SELECT d.workspace_id, max(d.max_duration_seconds) FROM public.destinations d
    WHERE d.workspace_id = NEW.id
        AND d.max_duration_seconds BETWEEN 1 AND coalesce((NEW.settings ->> 'short_request_seconds')::bigint, 2)
    GROUP BY d.workspace_id
    ON CONFLICT (workspace_id) DO UPDATE SET seconds = greatest(s.seconds, EXCLUDED.seconds);
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER note_short_limit AFTER UPDATE OF settings ON workspaces
    FOR EACH ROW WHEN (OLD.settings IS DISTINCT FROM NEW.settings) EXECUTE FUNCTION note_short_limit();

SELECT set_config('caracal.look_up', 'on', true), set_config('caracal.erase', 'on', true);
INSERT INTO short_requests (workspace_id, seconds)
SELECT d.workspace_id, max(d.max_duration_seconds) FROM destinations d JOIN workspaces w ON w.id = d.workspace_id
WHERE d.max_duration_seconds BETWEEN 1 AND coalesce((w.settings ->> 'short_request_seconds')::bigint, 2)
GROUP BY d.workspace_id;
SELECT set_config('caracal.look_up', 'off', true), set_config('caracal.erase', 'off', true);

-- Which workspaces have receipts to finish? Ids only, for the replica that looks after them; each is then read in a
-- transaction of its own workspace.
-- +goose StatementBegin
CREATE FUNCTION look_up_pending_receipts() RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT DISTINCT r.workspace_id FROM public.receipts r WHERE r.state = 'pending';
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_pending_receipts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_pending_receipts() TO caracal_app;

-- As before, with receipts.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION look_up_holder(thing text, workspaces text[]) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation regclass;
    named    text := 'id';
    found    text;
BEGIN
    CASE split_part(thing, '_', 1)
        WHEN 'prn' THEN relation := 'public.principals';
        WHEN 'pol' THEN relation := 'public.policies';
        WHEN 'mdt' THEN relation := 'public.mandates';
        WHEN 'dst' THEN relation := 'public.destinations';
        WHEN 'rgo' THEN relation := 'public.rego_versions';
        WHEN 'key' THEN relation := 'public.api_keys';
        WHEN 'gtw' THEN relation := 'public.gateways';
        WHEN 'iss' THEN relation := 'public.issuers';
        WHEN 'cau' THEN relation := 'public.client_authorities';
        WHEN 'rcp' THEN relation := 'public.receipts';
        WHEN 'sgk' THEN
            relation := 'public.signing_keys';
            thing := substr(thing, 5);
        WHEN 'evt' THEN relation := 'public.events';
        WHEN 'dec' THEN
            relation := 'public.events';
            named := 'decision_id';
        ELSE RETURN NULL;
    END CASE;
    PERFORM set_config('caracal.look_up', 'on', true);
    EXECUTE format('SELECT workspace_id FROM %s WHERE workspace_id = ANY ($1) AND %I = $2 LIMIT 1', relation, named)
        INTO found USING workspaces, thing;
    PERFORM set_config('caracal.look_up', 'off', true);
    RETURN found;
END
$$;
-- +goose StatementEnd
