-- Event partitions are made while everybody writes.

-- +goose Up

-- Makes the partition of a month unless it is there. A partition is isolated like its parent, for whoever would reach
-- it directly. The window bounds what a caller can make.
--
-- Whoever writes takes its workspace first and the events after it. A partition refers to workspaces and belongs to
-- events: it takes both in the same order, so that none of the two waits for the other. The lock lets one at a time make
-- partitions, who then sees what those before have made.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION ensure_event_partition(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    first_day timestamptz := date_trunc('month', moment);
    partition text := 'events_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN;
    END IF;
    IF moment NOT BETWEEN now() - interval '2 years' AND now() + interval '3 months' THEN
        RAISE EXCEPTION 'no events of %', moment USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE public.workspaces IN SHARE ROW EXCLUSIVE MODE;
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.events FOR VALUES FROM (%L) TO (%L)',
        partition, first_day, first_day + interval '1 month');
    PERFORM public.isolate_workspaces(('public.' || partition)::regclass, 'workspace_id');
END
$$;
-- +goose StatementEnd
