package openid_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/internal/openid"
)

func TestProviderSignsUsersInByCodeWithPKCE(t *testing.T) {
	p := openid.Start(t)
	p.AddClient(openid.Client{ID: "web", Secret: "a secret of the test", RedirectURIs: []string{"https://app.example/callback"}})
	p.AddUser(openid.User{Subject: "u-1", Password: "letters", Name: "Ada", Email: "ada@example.org", Groups: []string{"platform"}})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := *p.HTTP()
	browser.Jar = jar
	var callback *url.URL
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "app.example" {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	const verifier = "0123456789012345678901234567890123456789012"
	challenge := sha256.Sum256([]byte(verifier))
	response, err := browser.Get(p.Issuer + "/auth?" + url.Values{
		"client_id": {"web"}, "response_type": {"code"}, "redirect_uri": {"https://app.example/callback"},
		"scope": {"openid profile email groups"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	signIn := response.Request.URL.String()
	if !strings.Contains(signIn, "/interaction/") {
		t.Fatalf("asked to sign in at %s", signIn)
	}
	response, err = browser.PostForm(signIn, url.Values{"login": {"u-1"}, "password": {"letters"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if callback == nil || callback.Query().Get("iss") != p.Issuer || callback.Query().Get("state") != "s" {
		t.Fatalf("came back to %v", callback)
	}
	response, err = p.HTTP().PostForm(p.Issuer+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {callback.Query().Get("code")}, "code_verifier": {verifier},
		"redirect_uri": {"https://app.example/callback"}, "client_id": {"web"}, "client_secret": {"a secret of the test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	var granted struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal(text, &granted); err != nil || granted.IDToken == "" {
		t.Fatalf("the code gave %s", text)
	}
	claims := part(t, granted.IDToken, 1)
	if claims["sub"] != "u-1" || claims["nonce"] != "n" || claims["email"] != "ada@example.org" || len(claims["groups"].([]any)) != 1 {
		t.Errorf("the ID token claims %v", claims)
	}
}
