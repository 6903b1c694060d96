package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestTheCommandsOfAWorkspace walks through what a person does on the command line, on a real control plane.
func TestTheCommandsOfAWorkspace(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	agent := owner.must(t, "principal", "register", "agent", "--metadata", "environment=test")
	helper := owner.must(t, "principal", "register", "helper", "--type", "service")
	agentID, helperID := agent["principal_id"].(string), helper["principal_id"].(string)
	for _, id := range []string{agentID, helperID} {
		owner.must(t, "policy", "create", "--principal", id, "--resource", "api:external/*", "--action", "read,execute", "--delegation-depth", "1")
	}
	mandate := owner.must(t, "mandate", "issue", "--issuer", owner["owner"], "--subject", agentID, "--resource", "api:external/openai", "--action", "execute")["mandate_id"].(string)
	asAgent := environment{"CARACAL_URL": owner["CARACAL_URL"], "CARACAL_API_KEY": agent["api_key"].(string)}
	question := []string{"mandate", "validate", mandate, "--action", "execute", "--resource", "api:external/openai"}
	if answer := asAgent.must(t, question...); answer["allowed"] != true {
		t.Errorf("validating answered %v", answer)
	}
	if text, _, err := asAgent.caracal(t, "", "mandate", "get", mandate); err != nil || shown(text, "subject_id") != agentID || shown(text, "signature") != "" {
		t.Errorf("the mandate is shown as %s (%v)", text, err)
	}
	child := asAgent.must(t, "mandate", "delegate", mandate, "--to", helperID, "--resource", "api:external/openai", "--action", "execute", "--validity", "5m")
	if child["parent_mandate_id"] != mandate {
		t.Errorf("the child is %v", child)
	}
	rego := write(t, "policy.rego", "package caracal.policy\n\ndeny contains {\"code\": \"closed\", \"message\": \"closed today\"}\n")
	version := owner.must(t, "rego", "push", rego, "--activate", "-m", "closed")
	if version["active"] != true {
		t.Errorf("the version is %v", version)
	}
	stdout, _, err := asAgent.caracal(t, "", question...)
	if !errors.Is(err, errDenied) || !strings.Contains(stdout, "policy_code") || !strings.Contains(stdout, "closed today") {
		t.Errorf("validating under the policy ended with %v: %s", err, stdout)
	}
	decision := shown(stdout, "decision_id")
	if text, _, err := owner.caracal(t, "", "event", "show", decision); err != nil || !strings.Contains(text, "closed today") || shown(text, "event_type") != "denied" {
		t.Errorf("the decision is shown as %s (%v)", text, err)
	}
	receipt := owner.must(t, "mandate", "revoke", mandate, "--wait", "1s")
	if receipt["state"] != "enforced" || len(receipt["mandates"].([]any)) != 2 {
		t.Errorf("the receipt is %v", receipt)
	}
	if got := owner.must(t, "mandate", "get", mandate); got["revoked"] != true {
		t.Errorf("the revoked mandate is %v", got)
	}
	owner.must(t, "principal", "suspend", agentID)
	owner.must(t, "principal", "resume", agentID)
	key := owner.must(t, "key", "create", "edge", "--kind", "gateway", "--expires-in", "1d")
	owner.must(t, "key", "revoke", key["key_id"].(string))
	for args, want := range map[string]string{
		"workspace list":                     "my-team",
		"workspace get":                      "my-team",
		"workspace get my-team":              "my-team",
		"workspace usage":                    "live_mandates",
		"principal list --type service":      "helper",
		"policy list --principal " + agentID: "api:external/*",
		"mandate list --subject " + helperID: child["mandate_id"].(string),
		"destination list --limit 0":         "api.openai.com",
		"rego list":                          "closed",
		"key list":                           "gateway",
		"inspection-ca":                      "-----BEGIN CERTIFICATE-----",
		"inspection-ca -o json":              "\"not_after\"",
		"event list --type denied":           "policy_denied",
		"event list --mandate " + mandate:    "issued",
		"event export --format csv":          "event_id,event_type",
		"event export --type delegated":      child["mandate_id"].(string),
	} {
		if stdout, stderr, err := owner.caracal(t, "", strings.Fields(args)...); err != nil || !strings.Contains(stdout, want) {
			t.Errorf("caracal %s printed %s%s (%v), want %s in it", args, stdout, stderr, err, want)
		}
	}
}

// shown finds a line of what a command printed for people.
func shown(stdout, name string) string {
	for line := range strings.Lines(stdout) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name {
			return words[1]
		}
	}
	return ""
}

func TestDestinationsFromFlagsAndFiles(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	made := owner.must(t, "destination", "create", "shop", "--host", "shop.example.com", "--rule", "/admin/** GET=read api:shop/admin", "--rule", "/** GET=read,*=write api:shop")
	if made["tls"] != "tls" || len(made["rules"].([]any)) != 2 || len(made["ports"].([]any)) != 1 {
		t.Errorf("the destination is %v", made)
	}
	private := owner.must(t, "destination", "create", "wiki", "--host", "wiki.internal", "--port", "8443", "--address", "10.1.2.0/24", "--connect-to", "10.1.2.3:8443")
	if private["connect_to"] != "10.1.2.3:8443" || private["addresses"].([]any)[0] != "10.1.2.0/24" {
		t.Errorf("the private destination is %v", private)
	}
	models := owner.must(t, "destination", "create", "models", "--host", "models.example.com", "--base-path", "models", "--tunnel", "refuse", "--client-certificate", "ours")
	if models["base_path"] != "models" || models["tunnel"] != "refuse" || models["client_certificate"] != "ours" {
		t.Errorf("the destination with a base path is %v", models)
	}
	models = owner.must(t, "destination", "update", "models", "--base-path", "", "--client-certificate", "", "--tunnel", "passthrough")
	if models["base_path"] != nil || models["client_certificate"] != nil || models["tunnel"] != "passthrough" {
		t.Errorf("without them the destination is %v", models)
	}
	listed, _, err := owner.caracal(t, "", "destination", "list", "--sort", "name", "--name", "shop")
	if err != nil || !strings.Contains(listed, "shop.example.com  443    api:shop/admin, api:shop  inspect  -") {
		t.Errorf("the list is\n%s (%v)", listed, err)
	}
	text, err := json.Marshal(map[string]any{"name": "docs", "host": "docs.example.com", "ports": []int{443}})
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := owner.caracal(t, string(text), "destination", "create", "--file", "-", "-o", "json")
	if err != nil || !strings.Contains(stdout, "docs.example.com") {
		t.Errorf("adding from standard input ended with %v: %s%s", err, stdout, stderr)
	}
	owner.must(t, "destination", "delete", "shop", "--yes")
	for sentence, args := range map[string][]string{
		"a rule of two words":      {"--host", "a.example.com", "--rule", "/** GET=read"},
		"a rule without an equal":  {"--host", "a.example.com", "--rule", "/** GET api:a"},
		"a port that is none":      {"--host", "a.example.com", "--port", "70000"},
		"an address, no range":     {"--host", "a.example.com", "--address", "10.1.2.3"},
		"no host":                  {},
		"a tunnel of another kind": {"--host", "a.example.com", "--tunnel", "open"},
		"a file that is not there": {"--file", "/nowhere"},
	} {
		if _, stderr, err := owner.caracal(t, "", append([]string{"destination", "create", "x"}, args...)...); err == nil {
			t.Errorf("%s was accepted: %s", sentence, stderr)
		}
	}
}

func TestReadyDestinationsAreAddedOnce(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	listed, _, err := owner.caracal(t, "", "destination", "add")
	if err != nil || !strings.Contains(listed, "openai") || !strings.Contains(listed, "api.openai.com") {
		t.Errorf("the ready entries are\n%s (%v)", listed, err)
	}
	if !strings.Contains(listed, "s3.amazonaws.com, s3.us-east-1.amazonaws.com, s3.us-east-2.amazonaws.com, and ") || strings.Contains(listed, "sts.amazonaws.com") {
		t.Errorf("an entry of many hosts does not fit its line:\n%s", listed)
	}
	owner.must(t, "destination", "delete", "mistral", "--yes")
	owner.must(t, "destination", "update", "openai", "--rule", "/v1/** POST=execute api:external/openai")
	add := func() string {
		stdout, stderr, err := owner.caracal(t, "", "destination", "add", "mistral", "openai", "groq")
		if err != nil {
			t.Fatalf("adding ended with %v: %s", err, stderr)
		}
		var states []string
		for line := range strings.Lines(stdout) {
			words := strings.Fields(line)
			states = append(states, words[0]+" "+strings.Join(words[3:len(words)-1], " "))
		}
		return strings.Join(states[1:], "; ")
	}
	if got := add(); got != "mistral added; openai there, and different; groq there" {
		t.Errorf("the first time: %s", got)
	}
	if got := add(); got != "mistral there; openai there, and different; groq there" {
		t.Errorf("the second time: %s", got)
	}
	owner.fails(t, exitUsage, "did you mean groq", "destination", "add", "grok")
}

func TestADestinationIsTried(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	agent := owner.must(t, "principal", "register", "agent")["principal_id"].(string)
	owner.must(t, "policy", "create", "--principal", agent, "--resource", "api:external/*", "--action", "read,execute")
	mandate := owner.must(t, "mandate", "issue", "--issuer", owner["owner"], "--subject", agent, "--resource", "api:external/openai", "--action", "execute")["mandate_id"].(string)
	for sentence, c := range map[string]struct {
		args   string
		denied bool
		want   []string
	}{
		"the catalog alone":    {"https://api.openai.com/v1/models", false, []string{"api:external/openai", "read", "openai (api.openai.com)", "public addresses, TLS", "inspect"}},
		"a mandate covers it":  {"https://api.openai.com/v1/responses --method POST --principal agent", false, []string{"allowed", mandate + " (selected)", "agent"}},
		"none does":            {"https://api.openai.com/v1/models --principal agent", true, []string{"denied", "no_mandate_applies", "read on api:external/openai"}},
		"it is not reached":    {"https://api.openai.com:8443/", true, []string{"denied", "target_not_allowed"}},
		"a tunnel":             {"api.openai.com:443 --method CONNECT --principal agent", false, []string{"each request inside is judged by itself"}},
		"the one that is said": {"https://api.openai.com/v1/models --mandate " + mandate, true, []string{"action_not_in_scope", mandate + " (named)"}},
	} {
		stdout, stderr, err := owner.caracal(t, "", append([]string{"destination", "test"}, strings.Fields(c.args)...)...)
		if c.denied != errors.Is(err, errDenied) || !c.denied && err != nil {
			t.Errorf("%s: ended with %v: %s", sentence, err, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q is missing in\n%s", sentence, want, stdout)
			}
		}
	}
	owner.fails(t, exitRefused, "url", "destination", "test", "https://10.0.0.1/")
}

func TestWhatTouchesMandatesIsShownAndAccepted(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	agent := owner.must(t, "principal", "register", "agent")["principal_id"].(string)
	owner.must(t, "policy", "create", "--principal", agent, "--resource", "api:external/*", "--action", "read,execute")
	mandate := owner.must(t, "mandate", "issue", "--issuer", owner["owner"], "--subject", agent, "--resource", "api:external/openai", "--action", "execute")["mandate_id"].(string)
	file := write(t, "openai.json", `{"name": "openai", "host": "api.openai.com", "rules": [{"path": "/**", "methods": {"POST": "execute"}, "resource": "api:models"}]}`)
	for sentence, args := range map[string][]string{
		"an update": {"update", "openai", "--file", file}, "from flags": {"update", "openai", "--rule", "/** POST=execute api:models"},
	} {
		_, stderr, err := owner.caracal(t, "", append([]string{"destination"}, args...)...)
		if statusOf(err) != exitRefused {
			t.Errorf("%s ended with %v", sentence, err)
		}
		for _, want := range []string{"POST https://api.openai.com/**", "execute api:external/openai -> execute api:models", mandate + " of agent loses it", "say --yes"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q is missing in\n%s", sentence, want, stderr)
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, err := owner.caracal(t, string(text), "destination", "update", "openai", "--file", "-", "--yes", "-o", "json"); err != nil || !strings.Contains(stdout, "api:models") {
		t.Errorf("with --yes, from standard input, it ended with %v: %s%s", err, stdout, stderr)
	}
	owner.must(t, "destination", "delete", "openai", "--yes")
	if _, stderr, err := owner.caracal(t, "", "destination", "add", "openai"); statusOf(err) != exitRefused || !strings.Contains(stderr, mandate+" of agent gains it") {
		t.Errorf("a ready entry that a mandate covers ended with %v: %s", err, stderr)
	}
	if stdout, stderr, err := owner.caracal(t, "", "destination", "add", "openai", "--yes"); err != nil || !strings.Contains(stdout, "added") {
		t.Errorf("with --yes it ended with %v: %s%s", err, stdout, stderr)
	}
}

func TestErrorsSayWhatToTryNext(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	agent := owner.must(t, "principal", "register", "agent")
	id := agent["principal_id"].(string)
	asAgent := environment{"CARACAL_URL": owner["CARACAL_URL"], "CARACAL_API_KEY": agent["api_key"].(string)}
	stranger := environment{"CARACAL_URL": owner["CARACAL_URL"], "CARACAL_API_KEY": "wrong"}
	nowhere := environment{"CARACAL_URL": "http://127.0.0.1:1", "CARACAL_API_KEY": "x"}
	issue := []string{"mandate", "issue", "--issuer", owner["owner"], "--subject", id, "--resource", "api:external/openai", "--action", "execute"}
	broken := write(t, "broken.rego", "package caracal.policy\n\ndeny contains x if {\n\tx := http.send({})\n}\n")
	for sentence, c := range map[string]struct {
		shell environment
		args  []string
		want  []string
	}{
		"no policy covers it":      {owner, issue, []string{"no_policy_covers", "code     refused", "caracal policy create", "request  req_"}},
		"a field is wrong":         {owner, []string{"policy", "create", "--principal", id, "--resource", "api:**", "--action", "read"}, []string{"invalid_request", "field    allowed_resources[0]"}},
		"the key is wrong":         {stranger, []string{"mandate", "list"}, []string{"unauthenticated", "see that the key of CARACAL_API_KEY"}},
		"the key may not":          {asAgent, []string{"principal", "list"}, []string{"forbidden", "says who may do this"}},
		"there is no such thing":   {owner, []string{"event", "show", "evt_aaaaaaaaaaaaaaaaaaaaaaaaaa"}, []string{"not_found", "see that the id is right"}},
		"nobody answers":           {nowhere, []string{"mandate", "list"}, []string{"calling the control plane", "which CARACAL_URL says"}},
		"there is no key":          {environment{}, []string{"mandate", "list"}, []string{"set CARACAL_API_KEY or --api-key-file, or keep a key by `caracal login`"}},
		"the Rego does not pass":   {owner, []string{"rego", "push", broken}, []string{"broken.rego:4", "http.send"}},
		"the URL is not safe":      {environment{"CARACAL_URL": "http://control.example.com", "CARACAL_API_KEY": "x"}, []string{"mandate", "list"}, []string{"CARACAL_URL", "unencrypted"}},
		"an unknown format":        {owner, []string{"mandate", "list", "-o", "text"}, []string{"--output must be table, json or yaml"}},
		"a missing flag":           {owner, []string{"mandate", "issue"}, []string{"--issuer (who grants)", "--subject (who may act)"}},
		"an unknown command":       {owner, []string{"mandat"}, []string{"unknown command \"mandat\"", "did you mean mandate?"}},
		"no limit for events":      {owner, []string{"event", "list", "--limit", "0"}, []string{"caracal event export"}},
		"a switch that is no word": {environment{"CARACAL_API_KEY": "x", "CARACAL_ALLOW_PLAIN": "perhaps"}, []string{"mandate", "list"}, []string{"CARACAL_ALLOW_PLAIN must be true or false"}},
		"a CA file that is gone":   {environment{"CARACAL_API_KEY": "x", "CARACAL_CA_FILE": "/nowhere"}, []string{"mandate", "list"}, []string{"reading the CA file of CARACAL_CA_FILE"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			stdout, stderr, err := c.shell.caracal(t, "", c.args...)
			if err == nil {
				t.Fatalf("it succeeded: %s", stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr does not say %q:\n%s", want, stderr)
				}
			}
			if stdout != "" {
				t.Errorf("stdout has %s", stdout)
			}
		})
	}
}

func TestAMistakeIsAnsweredWithWhatWasMeant(t *testing.T) {
	owner := member(t, "http://"+serverEnvironment(t).serve(t))
	for args, want := range map[string]string{
		"mandate get":                                "usage: caracal mandate get MANDATE",
		"key create edge --kind goat":                "is one of member, agent, service, gateway",
		"key create edge --kind agent":               "is missing: whom the key acts for",
		"rego push output.go":                        "output.go: path_not_allowed",
		"mandate list -o text":                       "--output must be table, json or yaml",
		"mandate isue":                               "did you mean issue?",
		"mandate issue --isuer x":                    "did you mean --issuer?",
		"mandate get pol_aaaaaaaaaaaaaaaaaaaaaaaaaa": "see `caracal policy`",
		"principal get nobody":                       `there is no principal called "nobody"`,
		"mandate list --url http://a.test":           "CARACAL_ALLOW_PLAIN",
	} {
		_, stderr, err := owner.caracal(t, "", strings.Fields(args)...)
		if err == nil || !strings.Contains(stderr, want) || strings.Contains(stderr, ":0:0") || strings.Contains(stderr, "1 problems") {
			t.Errorf("caracal %s printed %s (%v), want %s in it", args, stderr, err, want)
		}
	}
}
