package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caracal-gateway/caracal"

// layers says which of our own packages each package may import. A package that is not here fails the test, so a new
// one is placed before it is used. ARCHITECTURE.md shows the same table with the reasons.
var layers = map[string][]string{
	"authority":             {},
	"catalog":               {"authority"},
	"learn":                 {"authority", "catalog"},
	"lease":                 {},
	"token":                 {"authority"},
	"bundle":                {"authority", "envoy", "token"},
	"rego":                  {"authority"},
	"inspection":            {"authority"},
	"envoy":                 {},
	"child":                 {},
	"client":                {"authority"},
	"client/contexts":       {},
	"launch":                {},
	"provision":             {},
	"migrations":            {},
	"extauthz":              {"authority", "lease", "token", "bundle", "rego", "envoy"},
	"gateway":               {"authority", "lease", "token", "bundle", "rego", "envoy", "extauthz", "child", "inspection", "internal/syncpb"},
	"controlplane":          {"authority", "catalog", "lease", "token", "bundle", "rego", "envoy", "discovery", "inspection", "controlplane/postgres", "controlplane/replica"},
	"controlplane/postgres": {"authority", "lease", "token", "controlplane/postgres/internal/query", "migrations"},
	"controlplane/api":      {"authority", "controlplane", "controlplane/replica"},
	"controlplane/serve":    {},
	"controlplane/replica":  {"authority"},
	"controlplane/signin":   {"authority", "controlplane", "controlplane/replica"},
	"controlplane/sync":     {"authority", "lease", "token", "bundle", "controlplane", "internal/syncpb"},
	"discovery":             {"authority", "token", "envoy"},
	"dev":                   {"authority", "child", "client", "provision", "token", "internal/echo"},

	"controlplane/postgres/internal/query": {"authority"},
	"internal/abuse":                       {},
	"internal/archtest":                    {},
	"internal/echo":                        {},
	"internal/nameserver":                  {},
	"internal/pki":                         {},
	"internal/openid":                      {"internal/echo", "provision"},
	"internal/pgtest":                      {"provision"},
	"internal/redistest":                   {"provision"},
	"internal/browser":                     {"provision"},
	"internal/schemathesis":                {"provision"},
	"internal/syncpb":                      {},
	"internal/world":                       {"authority", "token", "bundle", "lease"},
}

// everyone may import anything of ours: the program that wires it together, and its tests.
var everyone = []string{"cmd/caracal", "e2e", "e2e/clients", "e2e/revocation", "bench"}

// owners says which packages may import a library directly. Whoever else needs it asks its owner.
var owners = map[string][]string{
	"github.com/open-policy-agent/opa":       {"rego"},
	"github.com/jackc/pgx/v5":                {"controlplane/postgres", "controlplane/postgres/internal/query", "provision", "internal/pgtest"},
	"github.com/pressly/goose/v3":            {"controlplane/postgres"},
	"github.com/redis/go-redis/v9":           {"controlplane/replica"},
	"github.com/throttled/throttled/v2":      {"controlplane/replica"},
	"github.com/go-jose/go-jose/v4":          {"token"},
	"github.com/envoyproxy/go-control-plane": {"envoy", "extauthz", "gateway", "bench"},
	"github.com/coreos/go-oidc/v3":           {"controlplane/signin"},
	"golang.org/x/oauth2":                    {"controlplane/signin"},
	"github.com/spf13/cobra":                 {"cmd/caracal"},
	"software.sslmate.com/src/go-pkcs12":     {"launch"},
	"github.com/coder/websocket":             {"internal/echo"},
	"github.com/ulikunitz/xz":                {"provision"},
	"github.com/swaggest/swgui":              {"controlplane/api"},
	"github.com/chromedp":                    {"internal/browser"},
	"google.golang.org/grpc":                 {"extauthz", "gateway", "controlplane/sync", "internal/syncpb", "cmd/caracal", "bench"},
}

// banned names say nothing about what a package is for.
var banned = []string{"util", "utils", "helper", "helpers", "common", "misc", "shared", "base", "core", "models", "interfaces", "manager", "managers", "pkg"}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestPackagesImportOnlyWhatTheirLayerAllows(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if slices.Contains(everyone, name) {
			continue
		}
		allowed, placed := layers[name]
		if !placed {
			t.Errorf("package %s has no place in the import table: add it to layers here and to ARCHITECTURE.md", name)
			continue
		}
		for _, imported := range p.Imports {
			own, isOurs := strings.CutPrefix(imported, module+"/")
			if isOurs && !slices.Contains(allowed, own) {
				t.Errorf("package %s imports %s, which its layer does not allow", name, own)
			}
		}
	}
}

func TestTheDomainImportsTheStandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/authority").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != module+"/authority" {
		t.Errorf("authority depends on more than the standard library:\n%s", got)
	}
}

func TestEachLibraryIsImportedByItsOwnersOnly(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imported := range p.Imports {
			for library, allowed := range owners {
				if imported != library && !strings.HasPrefix(imported, library+"/") {
					continue
				}
				if !slices.Contains(allowed, name) {
					t.Errorf("package %s imports %s, which belongs to %v", name, imported, allowed)
				}
			}
		}
	}
}

func TestNoPackageHasANameThatSaysNothing(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(banned, path.Base(p.ImportPath)) {
			t.Errorf("package %s: name the idea", p.ImportPath)
		}
	}
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryDirectDependencyHasALineInContributing(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatalf("listing modules: %v", err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range strings.Fields(string(out)) {
		if !strings.Contains(string(text), "| "+module+" ") {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", module)
		}
	}
}
