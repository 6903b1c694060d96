-- What has changed since a revision, so that gateways are told the difference and not the whole.

-- +goose Up

-- The revisions of a workspace, for as long as they are remembered. A gap says that what lies before it is forgotten.
CREATE TABLE revisions (
    workspace_id text NOT NULL,
    revision     bigint NOT NULL,
    revised_at   timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, revision)
);
SELECT isolate_workspaces('revisions', 'workspace_id');
GRANT SELECT, INSERT ON revisions TO caracal_app;
CREATE INDEX revisions_by_time ON revisions (revised_at);

-- What each of them changed of that which a gateway is told, by kind and id. Something may be named twice, and may be
-- what it was before: who reads this looks at what is there now. A revocation writes a row for each mandate, which is why
-- nothing is checked here that the transaction has checked already.
CREATE TABLE changes (
    workspace_id text NOT NULL,
    revision     bigint NOT NULL,
    kind         text NOT NULL,
    id           text NOT NULL
);
SELECT isolate_workspaces('changes', 'workspace_id');
GRANT SELECT, INSERT ON changes TO caracal_app;
CREATE INDEX changes_by_revision ON changes (workspace_id, revision);

-- A mandate is told for a while after it was revoked.
CREATE INDEX mandates_by_time_of_revocation ON mandates (workspace_id, revoked_at) WHERE revoked_at IS NOT NULL;

-- Notes the rows that a statement changed, under the revision that its transaction has taken. A transaction that names no
-- workspace is the owner's, which erases or migrates: gateways are told nothing of that.
--
-- The arguments are the kind and the id of a row as expressions over it, and the columns that gateways are not told. A row
-- without a kind is not told at all.
-- +goose StatementBegin
CREATE FUNCTION note_changes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    workspace text := nullif(current_setting('caracal.workspace', true), '');
    untold    text[] := TG_ARGV[2];
    changed   text;
BEGIN
    IF workspace IS NULL THEN
        RETURN NULL;
    END IF;
    changed := CASE
        WHEN TG_OP = 'INSERT' THEN 'SELECT * FROM newer'
        WHEN TG_OP = 'DELETE' THEN 'SELECT * FROM older'
        WHEN untold = '{}' THEN 'SELECT * FROM newer'
        ELSE 'SELECT n.* FROM newer n WHERE to_jsonb(n) - $2 NOT IN (SELECT to_jsonb(o) - $2 FROM older o)'
    END;
    EXECUTE format('INSERT INTO public.changes (workspace_id, revision, kind, id) '
        'SELECT w.id, w.revision, c.kind, c.id '
        'FROM public.workspaces w, (SELECT %s AS kind, %s AS id FROM (%s) r) c WHERE w.id = $1 AND c.kind IS NOT NULL',
        TG_ARGV[0], TG_ARGV[1], changed) USING workspace, untold;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- Has the changes of a table noted.
-- +goose StatementBegin
CREATE FUNCTION note_changes_of(relation regclass, kind text, id text, untold text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER note_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS newer '
        'FOR EACH STATEMENT EXECUTE FUNCTION public.note_changes(%L, %L, %L)', relation, kind, id, untold);
    EXECUTE format('CREATE TRIGGER note_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS older NEW TABLE AS newer '
        'FOR EACH STATEMENT EXECUTE FUNCTION public.note_changes(%L, %L, %L)', relation, kind, id, untold);
    EXECUTE format('CREATE TRIGGER note_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS older '
        'FOR EACH STATEMENT EXECUTE FUNCTION public.note_changes(%L, %L, %L)', relation, kind, id, untold);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION note_changes_of(regclass, text, text, text[]) FROM PUBLIC;

SELECT note_changes_of('principals', $$'principal'$$, 'id', '{}');
SELECT note_changes_of('mandates', $$'mandate'$$, 'id', '{}');
SELECT note_changes_of('api_keys', $$CASE WHEN r.kind IN ('agent', 'service') THEN 'agent_key' END$$, 'id', '{last_used_at}');
SELECT note_changes_of('destinations', $$'destination'$$, 'id', '{}');
SELECT note_changes_of('rego_versions', $$'rego'$$, 'id', '{}');
SELECT note_changes_of('client_authorities', $$'client_authority'$$, 'id', '{}');
SELECT note_changes_of('issuers', $$'trusted_issuer'$$, 'id', '{}');
SELECT note_changes_of('issuer_keys', $$'trusted_issuer'$$, 'issuer_id', '{fetched_at,usable_until,attempted_at,next_attempt_at,failure}');
SELECT note_changes_of('policies', $$'policy'$$, 'id', '{}');
SELECT note_changes_of('signing_keys', $$'signing_key'$$, 'id', '{}');

-- A deleted workspace is told without any of its mandates, and with all of them again once it is restored: that is no
-- difference that is worth telling.
-- +goose StatementBegin
CREATE FUNCTION note_revision() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF nullif(current_setting('caracal.workspace', true), '') IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' OR NEW.revision <> OLD.revision THEN
        INSERT INTO public.revisions (workspace_id, revision, revised_at) VALUES (NEW.id, NEW.revision, NEW.revised_at);
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.slug, NEW.name, NEW.description, NEW.settings, NEW.archived_at, NEW.deleted_at, NEW.erase_at)
        IS DISTINCT FROM (OLD.slug, OLD.name, OLD.description, OLD.settings, OLD.archived_at, OLD.deleted_at, OLD.erase_at) THEN
        INSERT INTO public.changes (workspace_id, revision, kind, id)
        VALUES (NEW.id, NEW.revision,
            CASE WHEN (NEW.deleted_at IS NULL) = (OLD.deleted_at IS NULL) THEN 'workspace' ELSE 'everything' END, NEW.id);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER note_insert AFTER INSERT ON workspaces FOR EACH ROW EXECUTE FUNCTION note_revision();
CREATE TRIGGER note_update AFTER UPDATE ON workspaces FOR EACH ROW
    WHEN (NEW.revision <> OLD.revision
        OR (NEW.slug, NEW.name, NEW.description, NEW.settings, NEW.archived_at, NEW.deleted_at, NEW.erase_at)
        IS DISTINCT FROM (OLD.slug, OLD.name, OLD.description, OLD.settings, OLD.archived_at, OLD.deleted_at, OLD.erase_at))
    EXECUTE FUNCTION note_revision();

-- Forgets revisions that are older than a time, and of each workspace those before the given number of the newest changes;
-- never the newest, from which the next is told.
-- +goose StatementBegin
CREATE FUNCTION forget_revisions(kept interval, most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    workspace text;
    bound     bigint;
    surplus   bigint;
    removed   bigint := 0;
    n         bigint;
BEGIN
    PERFORM set_config('caracal.erase', 'on', true);
    FOR workspace IN SELECT DISTINCT r.workspace_id FROM public.revisions r LOOP
        SELECT max(r.revision) INTO bound FROM public.revisions r
        WHERE r.workspace_id = workspace AND r.revised_at < now() - kept;
        SELECT c.revision INTO surplus FROM public.changes c
        WHERE c.workspace_id = workspace ORDER BY c.revision DESC OFFSET most LIMIT 1;
        SELECT least(greatest(bound, surplus), max(r.revision) - 1) INTO bound FROM public.revisions r
        WHERE r.workspace_id = workspace;
        DELETE FROM public.revisions r WHERE r.workspace_id = workspace AND r.revision <= bound;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        DELETE FROM public.changes c WHERE c.workspace_id = workspace AND c.revision <= bound;
    END LOOP;
    PERFORM set_config('caracal.erase', 'off', true);
    RETURN removed;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION forget_revisions(interval, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_revisions(interval, bigint) TO caracal_app;

-- What is there is the beginning.
SELECT set_config('caracal.erase', 'on', true);
INSERT INTO revisions (workspace_id, revision, revised_at)
SELECT id, revision, revised_at FROM workspaces WHERE erased_at IS NULL;
SELECT set_config('caracal.erase', 'off', true);
