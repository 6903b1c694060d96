-- +goose Up
ALTER TABLE destinations
    ADD COLUMN client_certificate text NOT NULL DEFAULT '',
    ADD COLUMN tunnel             text NOT NULL DEFAULT 'inspect',
    ADD COLUMN base_path          text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX destinations_base_path ON destinations (workspace_id, base_path) WHERE base_path <> '';
