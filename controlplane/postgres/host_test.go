package postgres

import (
	"testing"
	"time"
)

func TestTheServersClockIsComparedWithOurs(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 1)
	for name, ahead := range map[string]time.Duration{"alike": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			host, err := s.LookAtHost(t.Context(), func() time.Time { return time.Now().Add(-ahead) })
			if err != nil {
				t.Fatal(err)
			}
			if off := (host.Ahead - ahead).Abs(); off > host.Doubt+time.Second {
				t.Errorf("the server is said to be ahead by %s ± %s, want %s", host.Ahead, host.Doubt, ahead)
			}
		})
	}
}

// What is committed is on disk, also where the server would not wait for that by itself.
func TestATransactionWaitsForTheDisk(t *testing.T) {
	ownerURL, appURL := cluster.New(t)
	admin := connect(t, cluster.Superuser(t, ownerURL))
	for _, mode := range []string{"off", "local", "remote_apply"} {
		if _, err := admin.Exec(t.Context(), "ALTER ROLE caracal_app SET synchronous_commit = '"+mode+"'"); err != nil {
			t.Fatal(err)
		}
		app := connect(t, appURL)
		tx, err := app.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if _, err := tx.Exec(t.Context(), "SELECT * FROM enter_workspace('ws')"); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&got); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"off": "on", "local": "on", "remote_apply": "remote_apply"}[mode]
		if got != want {
			t.Errorf("with synchronous_commit %s a transaction runs with %s, want %s", mode, got, want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.Exec(t.Context(), "ALTER ROLE caracal_app RESET synchronous_commit"); err != nil {
		t.Fatal(err)
	}
}
