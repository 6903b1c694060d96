package provision

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheNewestInstalledPostgresIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		installed map[string]string // directory and version
		want      string
		wantErr   string
	}{
		"the newest by number": {map[string]string{
			"usr/lib/postgresql/9.6/bin": "9.6.24", "usr/lib/postgresql/15/bin": "15.18", "usr/lib/postgresql/100/bin": "100.1", "usr/pgsql-17/bin": "17.2",
		}, "usr/lib/postgresql/100/bin", ""},
		"one of Red Hat's packages": {map[string]string{"usr/pgsql-16/bin": "16.1"}, "usr/pgsql-16/bin", ""},
		"none that is new enough":   {map[string]string{"usr/lib/postgresql/14/bin": "14.1"}, "", "no postgres and initdb of version 15 or later"},
		"none at all":               {nil, "", "no postgres and initdb of version 15 or later"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for dir, version := range tc.installed {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
				for _, program := range []string{"postgres", "initdb"} {
					script := "#!/bin/sh\necho '" + program + " (PostgreSQL) " + version + "'\n"
					if err := os.WriteFile(filepath.Join(root, dir, program), []byte(script), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := installedPostgres(t.Context(), "", root)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil || got.Dir != filepath.Join(root, tc.want) {
				t.Errorf("got %+v, %v; want %s", got, err, tc.want)
			}
		})
	}
}
