-- Who a client certificate is, mandates that are bound to one, and signing keys that change.

-- +goose Up

CREATE TABLE client_authorities (
    id            text PRIMARY KEY,
    workspace_id  text NOT NULL REFERENCES workspaces (id),
    name          text NOT NULL,
    roots         text NOT NULL,
    intermediates text NOT NULL,
    bindings      jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    UNIQUE (workspace_id, id),
    UNIQUE (workspace_id, name)
);
SELECT isolate_workspaces('client_authorities', 'workspace_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON client_authorities TO caracal_app;
CREATE POLICY look_up ON client_authorities FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON signing_keys FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');

-- The certificate that a mandate is bound to, as it was signed; NULL for a mandate that is bound to none.
ALTER TABLE mandates ADD COLUMN confirmation jsonb;

-- A child is bound where its parent is.
-- +goose StatementBegin
CREATE FUNCTION binding_is_kept() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.confirmation IS NULL AND EXISTS (
        SELECT FROM public.mandates m
        WHERE m.workspace_id = NEW.workspace_id AND m.id = NEW.parent_id AND m.confirmation IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'the parent is bound to a certificate and the child is not'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'binding_is_kept';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER binding_is_kept BEFORE INSERT ON mandates
    FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION binding_is_kept();

-- +goose StatementBegin
CREATE FUNCTION binding_never_changes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.confirmation IS DISTINCT FROM OLD.confirmation THEN
        RAISE EXCEPTION 'the terms of a mandate never change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'terms_never_change';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER binding_never_changes BEFORE UPDATE ON mandates
    FOR EACH ROW EXECUTE FUNCTION binding_never_changes();

-- A key is published from when it is made. withdrawn_at is when it left the key set: nothing that it signed is in force
-- any more, or it is revoked. Keys are never deleted and a mark is never taken back, so that their number and that of the
-- marks grow with every change of the set.
ALTER TABLE signing_keys
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN withdrawn_at timestamptz,
    ADD COLUMN revoked_at timestamptz,
    ADD CHECK (revoked_at IS NULL OR withdrawn_at IS NOT NULL);
GRANT UPDATE (retire_at, withdrawn_at, revoked_at) ON signing_keys TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION key_marks_stay() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.retire_at > OLD.retire_at
        OR (OLD.withdrawn_at IS NOT NULL AND NEW.withdrawn_at IS DISTINCT FROM OLD.withdrawn_at)
        OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
        RAISE EXCEPTION 'a signing key never gains time and never comes back'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'key_marks_stay';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER key_marks_stay BEFORE UPDATE ON signing_keys
    FOR EACH ROW EXECUTE FUNCTION key_marks_stay();
