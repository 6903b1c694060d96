package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/caracal-gateway/caracal/migrations"
)

// Migrate brings the schema up to date, as the role that owns the database. Two at once take turns. The role
// caracal_app has to be there: who makes the server's roles decides on its password.
func Migrate(ctx context.Context, ownerURL string) error {
	config, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		return fmt.Errorf("read database URL: %w", withoutSecrets(err))
	}
	config.RuntimeParams["search_path"] = "public"
	db := stdlib.OpenDB(*config)
	defer db.Close()
	var known bool
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'caracal_app')").Scan(&known); err != nil {
		return fmt.Errorf("reach database: %w", err)
	}
	if !known {
		return errors.New("the role caracal_app is missing: CREATE ROLE caracal_app LOGIN PASSWORD '…', without any other right")
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("prepare migration: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("prepare migration: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
