package abuse_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is the product without one of its rules, or with a part of it replaced by nothing, and the test that has to
// notice.
type mutant struct {
	file     string // that is changed, in the repository
	old, new string
	more     string // that is put at the end of the file
	test     string
	in       string // the test's package
	// deep is for what takes long; those are made when CARACAL_DEEP is set.
	deep bool
}

var mutants = map[string]mutant{
	"whoever presents a mandate is taken for its subject": {
		file: "authority/validate.go", old: `if q.Presenter == "" || q.Presenter != m.SubjectID {`, new: `if q.Presenter == "" {`,
		in: "./authority", test: "TestTheFirstCheckThatFailsNamesTheReason",
	},
	"the revocation of an ancestor does not count": {
		file: "authority/validate.go", old: `case !chain[i].Revoked && chain[i].RevokedAt == nil:`, new: `case i > 0 || !chain[i].Revoked && chain[i].RevokedAt == nil:`,
		in: "./authority", test: "TestTheFirstCheckThatFailsNamesTheReason",
	},
	"a child may cover resources that its parent does not": {
		file: "authority/delegate.go", old: `if p := parent.Scope().uncovered(s.Resources); p != "" {`, new: `if p := parent.Scope().uncovered(nil); p != "" {`,
		in: "./authority", test: "TestDelegatingIsRefusedForANamedReason",
	},
	"a number is a host": {
		file: "authority/target.go", old: `if isNumeric(label) {`, new: `if isNumeric("a") {`,
		in: "./authority", test: "TestTargetsThatTwoReadersCouldReadDifferentlyAreRefused",
	},
	"the first of two mandates counts": {
		file: "extauthz/request.go", old: `if seen[name] {`, new: `if seen[""] {`,
		in: "./extauthz", test: "TestHeadersThatMatterHaveOneReading",
	},
	"the workspace's policy is not asked": {
		file: "extauthz/judge.go", old: `verdict, err := s.consult(ctx, j, finding, requestInput(m, j.request, target))`, new: `verdict, err := rego.Verdict{Allow: true}, error(nil)`,
		in: "./extauthz", test: "TestTheWorkspacesPolicyCanOnlyNarrow",
	},
	"the signatures of mandates are not checked": {
		file: "extauthz/judge.go", old: `if err := j.snapshot.verify(chain); err != nil {`, new: `if err := j.snapshot.verify(nil); err != nil {`,
		in: "./extauthz", test: "TestTheMandateIsJudgedByTheRulesOfAuthority",
	},
	"every header of the caller's goes on": {
		file: "extauthz/permit.go", old: `if !j.mayReachUpstream(h) || j.tells(h.value) {`, new: `if h.name == "" {`,
		in: "./internal/abuse", test: "TestTheDecisionServiceStandsEveryCase",
	},
	"a transaction leaves its workspace on the connection": {
		file: "controlplane/postgres/store.go", old: `config.AfterRelease = forgetWorkspace`, new: `_ = forgetWorkspace`,
		in: "./controlplane/postgres", test: "TestAConnectionKeepsNoWorkspace",
	},
	"the owner of the tables sees every workspace": {
		file: "migrations/0001_state.sql", old: `FORCE ROW LEVEL SECURITY', relation);`, new: `ENABLE ROW LEVEL SECURITY', relation);`,
		in: "./controlplane/postgres", test: "TestEveryTableOfAWorkspaceForcesRowLevelSecurity",
	},

	"go-jose verifies nothing": {
		file: "token/jws.go", old: `payload, err := signed.Verify(public)`, new: `payload, err := signed.UnsafePayloadWithoutVerification(), error(nil)`,
		in: "./token", test: "TestAnAccessTokenIsRefusedFor",
	},
	"opa evaluates nothing": {
		file: "rego/policy.go", old: `v, err := p.await(ctx, &evaluation{`, new: `v, err := permit(ctx, &evaluation{`,
		more: "func permit(context.Context, *evaluation) (Verdict, error) { return Verdict{Allow: true}, nil }",
		in:   "./rego", test: "TestAPolicyOnlyNarrows",
	},
	"go-control-plane serves nothing": {
		file: "gateway/xds.go", old: `if err := x.cache.SetSnapshot(ctx, x.node, snapshot); err != nil {`, new: `if err := error(nil); err != nil {`,
		in: "./gateway", test: "TestAnAllowedRequestReachesTheUpstreamAsItWasJudged",
	},
	"grpc serves nothing": {
		file: "extauthz/server.go", old: `go func() { served <- server.Serve(listener) }()`, new: `go func() { <-ctx.Done(); served <- nil }()`,
		in: "./extauthz", test: "TestChecksAreAnsweredOverTheSocket",
	},
	"pgx copies nothing": {
		file: "controlplane/postgres/event.go", old: `pgx.CopyFromSlice(len(events), func`, new: `pgx.CopyFromSlice(0*len(events), func`,
		in: "./controlplane/postgres", test: "TestABatchIsStoredOnceHoweverItIsSent",
	},
	"go-redis asks nothing": {
		file: "controlplane/replica/replica.go", old: `err := question(asking)`, new: `_, err := asking, error(nil)`,
		in: "./controlplane/replica", test: "TestReplicasCountTogetherThroughRedis",
	},

	"a token of an issuer is for anybody": {
		file: "token/issuer.go", old: `if err := claims.meantFor(v.issuer.Audiences); err != nil {`, new: `if err := error(nil); err != nil {`,
		in: "./token", test: "TestTokensOfTrustedIssuersThatAreRefused",
	},
	"go-jose verifies no token of an issuer": {
		file: "token/issuer.go", old: `if _, err := signed.Verify(k.public); err != nil {`, new: `if _, err := signed, error(nil); err != nil {`,
		in: "./token", test: "TestTokensOfTrustedIssuersThatAreRefused",
	},
	"a key server may be anywhere": {
		file: "discovery/discovery.go", old: `return checkAddress(issuer.PrivateAddresses, address)`, new: `return checkAddress([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, "8.8.8.8:443")`,
		in: "./discovery", test: "TestAProviderIsNotBelievedWhen",
	},
	"a key server may redirect": {
		file: "discovery/discovery.go", old: `CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect },`, new: ``,
		in: "./discovery", test: "TestAKeyServerIsNotBelievedWhenItAnswers", deep: true,
	},
	"keys of an issuer are used for ever": {
		file: "controlplane/issuerkeys.go", old: `if ended(k.UsableUntil, at) {`, new: `if false {`,
		in: "./controlplane", test: "TestKeysOutliveTheirServerForABoundedTime", deep: true,
	},
	"every replica asks for the keys of an issuer": {
		file: "controlplane/postgres/issuer.go", old: `return n == 1, translate("claim issuer", err)`, new: `return n <= 1, translate("claim issuer", err)`,
		in: "./controlplane", test: "TestAKeyServerIsNotAskedTwiceForOneAnswer", deep: true,
	},
	"a token that was recognised holds for ever": {
		file: "extauthz/issuer.go", old: `now.Before(known.ExpiresAt)`, new: `!now.Before(known.IssuedAt)`,
		in: "./extauthz", test: "TestATokenThatIdentifiedSomebodyEndsWithItsKeyAndItsTime", deep: true,
	},
	"what identified its bearer reaches the upstream": {
		file: "extauthz/shown.go", old: `return strings.Contains(text, written)`, new: `return text == written+"?"`,
		in: "./extauthz", test: "TestATokenThatIdentifiesReachesNoUpstreamInAnyPlace", deep: true,
	},

	"what is inside of a tunnel goes anywhere": {
		file: "extauthz/inside.go", old: `case target.Host != through.host || target.Port != through.port:`, new: `case target.Host == "" || through == nil:`,
		in: "./extauthz", test: "TestWhatIsInsideOfATunnelIsForWhereItWasOpenedTo",
	},
	"the name in TLS may be another": {
		file: "extauthz/inside.go", old: `case r.secure && strings.ToLower(r.sni) != through.host:`, new: `case r.secure && strings.ToLower(r.sni) == "?":`,
		in: "./extauthz", test: "TestWhatIsInsideOfATunnelIsForWhereItWasOpenedTo", deep: true,
	},
	"a tunnel may be opened without a mandate": {
		file: "extauthz/connect.go", old: `return len(s.Actions) > 0 && slices.ContainsFunc(s.Resources, reachable.meets)`, new: `return len(s.Actions) > 0 || slices.ContainsFunc(s.Resources, reachable.meets)`,
		in: "./extauthz", test: "TestATunnelIsOpenedOnlyWhereAMandateCouldCoverSomething", deep: true,
	},
	"an opaque tunnel asks no policy": {
		file: "extauthz/connect.go", old: `for _, action := range actions {`, new: `for _, action := range actions[:0] {`,
		in: "./extauthz", test: "TestAnOpaqueTunnelIsJudgedAsWhatCanCarryAnything", deep: true,
	},
	"a key may be shown to whoever listens": {
		file: "extauthz/shown.go", old: `if !r.secure && !from.Unmap().IsLoopback() {`, new: `if r.way == "" {`,
		in: "./extauthz", test: "TestAProxyAsksWhoAsks", deep: true,
	},
	"a token that is bound presents any mandate": {
		file: "extauthz/selection.go", old: `if j.bound != "" && mandate != j.bound {`, new: `if mandate == "" {`,
		in: "./extauthz", test: "TestATokenThatIsBoundToAMandatePresentsThatOneOnly", deep: true,
	},
	"a stream goes on by another mandate": {
		file: "extauthz/selection.go", old: `if j.pinned != "" {`, new: `if j.pinned == "?" {`,
		in: "./extauthz", test: "TestAStreamStaysWithItsMandate", deep: true,
	},
	"a tunnel outlives the last mandate that could apply": {
		file: "extauthz/watchend.go", old: `s.watches.settle(w, rests)`, new: `_ = rests`,
		in: "./extauthz", test: "TestATunnelIsCutWithTheLastMandateThatCouldApply", deep: true,
	},
	"a tunnel outlives the key that opened it": {
		file: "extauthz/apply.go", old: `for _, id := range d.AgentKeys.Removed {`, new: `for _, id := range d.AgentKeys.Removed[:0] {`,
		in: "./extauthz", test: "TestATunnelEndsWithTheKeyThatOpenedIt", deep: true,
	},
	"who asks inside of a tunnel says so itself": {
		file: "extauthz/inside.go", old: `return r.within.request`, new: `return r`,
		in: "./extauthz", test: "TestWhatIsInsideOfATunnelIsForWhereItWasOpenedTo", deep: true,
	},

	"names may resolve to this machine": {
		file: "envoy/cluster.go", old: `ResolvedAddressFilter: resolvedAddressFilter(),`, new: ``,
		in: "./envoy", test: "TestNoAddressOfThisMachineOrItsNetworkIsReached", deep: true,
	},
	"Envoy may connect to this machine": {
		file: "envoy/address.go", old: `return addressRule("not-public", rbacconfigv3.RBAC_DENY, NotPublic(), 0)`, new: `return addressRule("not-public", rbacconfigv3.RBAC_DENY, nil, 0)`,
		in: "./envoy", test: "TestNoAddressOfThisMachineOrItsNetworkIsReached", deep: true,
	},
	"what comes behind the body goes on": {
		file: "envoy/cluster.go", old: `RequestTrailersMutations: removeHeaders(anything()),`, new: ``,
		in: "./internal/abuse", test: "TestTheGatewayStandsEveryCase", deep: true,
	},
	"requests pass when no decision comes": {
		file: "envoy/authorisation.go", old: `ValidateMutations:      true,`, new: "ValidateMutations: true,\n\t\tFailureModeAllow: true,",
		in: "./envoy", test: "TestWithoutADecisionNothingPasses", deep: true,
	},
}

// A mutant whose source has changed is noticed at once, though most are tried in the long tests only.
func TestEveryMutantFitsTheSource(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) { m.source(t, root) })
	}
}

// TestEveryRuleIsMissedWhenItIsGone runs a test against the product without what the test is about.
func TestEveryRuleIsMissedWhenItIsGone(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range mutants {
		if m.deep && os.Getenv("CARACAL_DEEP") == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := m.run(t, root)
			if err == nil {
				t.Fatalf("%s passes", m.test)
			}
			if !strings.Contains(out, "--- FAIL: "+m.test) {
				t.Fatalf("%s did not run (%v):\n%s", m.test, err, out)
			}
		})
	}
	t.Run("the same test passes when nothing is gone", func(t *testing.T) {
		t.Parallel()
		m := mutants["the first of two mandates counts"]
		m.new = m.old
		if out, err := m.run(t, root); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
	})
}

// run runs the test against the mutant and returns what it said.
func (m mutant) run(t *testing.T, root string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "test", "-overlay", m.overlay(t, root), "-vet=off", "-count=1", "-run", "^"+m.test+"$", m.in)
	command.Dir = root
	out, err := command.CombinedOutput()
	return string(out), err
}

// source is what the mutant changes, which has to be there once.
func (m mutant) source(t *testing.T, root string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", m.file, m.old, n)
	}
	return string(source)
}

// overlay makes the file by which the go command sees the mutant in the place of the source.
func (m mutant) overlay(t *testing.T, root string) string {
	t.Helper()
	original := filepath.Join(root, m.file)
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	text := strings.Replace(m.source(t, root), m.old, m.new, 1) + "\n" + m.more + "\n"
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
