package openid_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/internal/openid"
)

func get(t *testing.T, p *openid.Provider, path string) (int, string) {
	t.Helper()
	response, err := p.HTTP().Get(p.Issuer + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func keyIDs(t *testing.T, p *openid.Provider) []string {
	t.Helper()
	_, text := get(t, p, "/jwks")
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.Kid)
	}
	return ids
}

func part(t *testing.T, jwt string, n int) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

func TestProviderGivesWorkloadsTokensOfEveryAlgorithm(t *testing.T) {
	p := openid.Start(t)
	for _, algorithm := range []string{"RS256", "ES256", "PS256", "EdDSA"} {
		c := openid.Client{ID: "worker-" + algorithm, Secret: "a secret of the test", Algorithm: algorithm}
		p.AddClient(c)
		jwt := p.Token(c, "https://gateway.example")
		if got := part(t, jwt, 0)["alg"]; got != algorithm {
			t.Errorf("%s: the token is signed by %v", algorithm, got)
		}
		claims := part(t, jwt, 1)
		if claims["iss"] != p.Issuer || claims["sub"] != c.ID || claims["aud"] != "https://gateway.example" {
			t.Errorf("%s: the token claims %v", algorithm, claims)
		}
	}
}

func TestProviderRotatesItsKeys(t *testing.T) {
	p := openid.Start(t)
	c := openid.Client{ID: "worker", Secret: "a secret of the test"}
	p.AddClient(c)
	signedBy := func() string { return part(t, p.Token(c, "https://gateway.example"), 0)["kid"].(string) }
	first := signedBy()
	p.PublishNextKeys()
	if got := signedBy(); got != first {
		t.Errorf("a key that is only published signs: %s", got)
	}
	p.SignWithNextKeys()
	second := signedBy()
	if second == first {
		t.Error("the former key still signs")
	}
	if text := strings.Join(keyIDs(t, p), " "); !strings.Contains(text, first) || !strings.Contains(text, second) {
		t.Errorf("keys %s do not hold both %s and %s", text, first, second)
	}
	p.WithdrawFormerKeys()
	if text := strings.Join(keyIDs(t, p), " "); strings.Contains(text, first) || !strings.Contains(text, second) {
		t.Errorf("keys %s after %s was withdrawn for %s", text, first, second)
	}
}

func TestProviderFailsWhenItIsTold(t *testing.T) {
	p := openid.Start(t)
	p.AnswerKeys(http.StatusInternalServerError, "no")
	if status, text := get(t, p, "/jwks"); status != http.StatusInternalServerError || text != "no" {
		t.Errorf("keys answered %d %q", status, text)
	}
	p.Recover("max-age=600")
	if status, _ := get(t, p, "/jwks"); status != http.StatusOK {
		t.Errorf("keys answered %d after the recovery", status)
	}
	p.Stop()
	if response, err := p.HTTP().Get(p.Issuer + "/jwks"); err == nil {
		_ = response.Body.Close()
		t.Error("a stopped provider answers")
	}
	p.Resume()
	if status, _ := get(t, p, "/jwks"); status != http.StatusOK {
		t.Errorf("keys answered %d after it came back", status)
	}
}
