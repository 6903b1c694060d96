package gateway_test

import (
	"os"
	"regexp"
	"testing"
)

func TestEnvoyDoesNotInheritTheSecretsOfTheGatewaysEnvironment(t *testing.T) {
	t.Setenv("ENTERPRISE_API_KEY", "canary-key")
	t.Setenv("CARACAL_CREDENTIAL_OPENAI", "canary-credential")
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	pid := regexp.MustCompile(`envoy started" pid=(\d+)`).FindStringSubmatch(r.log.String())
	if pid == nil {
		t.Fatalf("the log does not tell Envoy's pid:\n%s", r.log)
	}
	environment, err := os.ReadFile("/proc/" + pid[1] + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`[A-Z_]+=canary-[a-z]+`).FindAll(environment, -1); found != nil {
		t.Errorf("Envoy holds %q", found)
	}
}
