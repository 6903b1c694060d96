-- The order in which events became visible, for those who follow them as they happen: an event's own time says nothing
-- about it, since gateways deliver late.

-- +goose Up

-- The transaction that recorded the event; NULL in events from before there was this column. Adding the default apart
-- from the column leaves the rows that are there alone.
ALTER TABLE events ADD COLUMN recorded_in xid8;
ALTER TABLE events ALTER COLUMN recorded_in SET DEFAULT pg_current_xact_id();
CREATE INDEX events_by_recording ON events (workspace_id, recorded_in) WHERE recorded_in IS NOT NULL;
