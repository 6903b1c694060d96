package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// canaries are the secrets of a run, by what each is.
type canaries map[string]string

// watched is a running stack, whose secrets are collected while they are used.
type watched struct {
	*stack
	t         *testing.T
	variables map[string]string
	secrets   canaries
	told      map[string][]byte // everything that was answered, by what was asked
}

// reply is one answer of the stack.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) text(t *testing.T, field string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(r.body, &fields); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	text, _ := fields[field].(string)
	if text == "" {
		t.Fatalf("the answer has no %s: %s", field, r.body)
	}
	return text
}

// ask makes a request; headers are written `Name: value`. An answer is kept to be searched unless its caller says that it
// tells a secret on purpose.
func (w *watched) ask(method, url, key string, body any, mayTell bool, headers ...string) reply {
	w.t.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, url, sent)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if !mayTell {
		var head bytes.Buffer
		if err := response.Header.Write(&head); err != nil {
			w.t.Fatal(err)
		}
		w.told[fmt.Sprintf("the answer %d to %s %s", len(w.told), method, request.URL.Path)] = append(head.Bytes(), text...)
	}
	return reply{response.StatusCode, response.Header, text}
}

// api asks the control plane.
func (w *watched) api(method, path, key string, body any, mayTell bool, headers ...string) reply {
	w.t.Helper()
	return w.ask(method, w.variables["CARACAL_URL"]+"/api/v1/"+path, key, body, mayTell, headers...)
}

// made insists that something was made.
func (r reply) made(t *testing.T) reply {
	t.Helper()
	if r.status < 200 || r.status > 299 {
		t.Fatalf("answered %d %s", r.status, r.body)
	}
	return r
}

// TestNoSecretIsTold uses every kind of secret, rightly and wrongly, in a stack that logs all it can, and then looks for
// each of them in everything that the stack has written, answered or kept.
func TestNoSecretIsTold(t *testing.T) {
	w := watch(t)
	w.useKeys()
	w.useSessions()
	w.callThroughTheGateway()
	w.useThemWrongly()
	w.export()
	if err := w.note(); err != nil {
		t.Fatal(err)
	}
	for _, p := range w.noted {
		w.told[fmt.Sprintf("the arguments of process %d", p.pid)] = []byte(strings.Join(p.arguments, " "))
	}
	if err := w.interrupt(); err != nil { // so that the database has written everything
		t.Fatal(err)
	}
	w.search()
}

func watch(t *testing.T) *watched {
	t.Helper()
	s, err := newStack(mkdir(t, "canaries"))
	if err != nil {
		t.Fatal(err)
	}
	s.settings = []string{"CARACAL_LOG_LEVEL=debug"}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.report())
		}
		s.end()
	})
	if err := s.start(""); err != nil {
		t.Fatalf("%v\n%s", err, s.report())
	}
	w := &watched{stack: s, t: t, variables: map[string]string{}, secrets: canaries{}, told: map[string][]byte{}}
	lines, err := readEnvironment(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		w.variables[name] = value
	}
	for what, name := range map[string]string{"the owner's key": "CARACAL_API_KEY", "the agent's key": "CARACAL_AGENT_API_KEY", "an access token": "CARACAL_AGENT_JWT"} {
		w.secrets[what] = w.variables[name]
	}
	for what, file := range map[string]string{"the setup key": "setup.key", "the master key": "master.key"} {
		text, err := os.ReadFile(filepath.Join(s.project, ".caracal", file))
		if err != nil {
			t.Fatal(err)
		}
		w.secrets[what] = strings.TrimSpace(string(text))
	}
	return w
}

// useKeys makes keys of each kind, some of them twice under one Idempotency-Key.
func (w *watched) useKeys() {
	owner := w.secrets["the owner's key"]
	for range 2 { // the second is answered from memory
		r := w.api("POST", "principals", owner, map[string]any{"name": "canary", "principal_type": "service"}, true, "Idempotency-Key: canary-1").made(w.t)
		w.secrets["a service's key"] = r.text(w.t, "api_key")
	}
	gateway := w.api("POST", "keys", owner, map[string]any{"kind": "gateway", "name": "canary"}, true, "Idempotency-Key: canary-2").made(w.t)
	w.secrets["a gateway's key"] = gateway.text(w.t, "api_key")
	rotated := w.api("POST", "keys/"+gateway.text(w.t, "key_id")+"/rotate", owner, map[string]any{"overlap_seconds": 60}, true).made(w.t)
	w.secrets["a key that follows another"] = rotated.text(w.t, "api_key")
	setup := w.secrets["the setup key"]
	workspace := w.api("POST", "workspaces", setup, map[string]any{"name": "Canaries", "slug": "canaries"}, true).made(w.t)
	w.secrets["another workspace's key"] = workspace.text(w.t, "api_key")
	token := w.api("POST", "token", w.secrets["a service's key"], nil, true).made(w.t)
	w.secrets["a service's token"] = token.text(w.t, "access_token")
}

// useSessions signs somebody in by a link.
func (w *watched) useSessions() {
	link := w.api("POST", "sign-in-links", w.secrets["another workspace's key"], map[string]any{}, true)
	if link.status != http.StatusCreated {
		w.t.Fatalf("no link is made: %d %s", link.status, link.body)
	}
	address, err := url.Parse(link.text(w.t, "url"))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, values := range address.Query() {
		w.secrets["the "+name+" of a sign-in link"] = values[0]
	}
	if address.Fragment != "" {
		w.secrets["the code of a sign-in link"] = address.Fragment
	}
	w.ask("GET", address.String(), "", nil, true)
}

// callThroughTheGateway sends an upstream's credential along.
func (w *watched) callThroughTheGateway() {
	w.secrets["an upstream's credential"] = "canary-of-the-upstream-4b7d1c0a9e"
	w.ask("POST", w.variables["CARACAL_GATEWAY_URL"]+"/api/proxy", w.variables["CARACAL_AGENT_JWT"], nil, true,
		"X-Caracal-Mandate: "+w.variables["CARACAL_MANDATE_ID"], "X-Caracal-Target-URL: "+w.variables["CARACAL_UPSTREAM_URL"]+"/canary?key="+w.secrets["an upstream's credential"],
		"X-Caracal-Upstream-Authorization: Bearer "+w.secrets["an upstream's credential"])
}

// useThemWrongly puts each secret where it does not belong.
func (w *watched) useThemWrongly() {
	owner := w.secrets["the owner's key"]
	for what, secret := range w.secrets {
		if what == "the master key" {
			continue // it never leaves its file
		}
		escaped := url.QueryEscape(secret)
		w.api("GET", "mandates?key="+escaped, owner, nil, false)
		w.api("GET", "mandates/"+url.PathEscape(secret), owner, nil, false)
		w.api("GET", "workspaces/"+url.PathEscape(secret)+"/mandates", owner, nil, false)
		w.api("GET", "mandates", secret+"x", nil, false)
		w.api("GET", "mandates", owner, nil, false, "Cookie: session="+secret)
		w.ask("GET", w.variables["CARACAL_GATEWAY_URL"]+"/api/proxy?key="+escaped, secret+"x", nil, false, "X-Caracal-Mandate: "+secret, "X-Caracal-Target-URL: "+secret)
	}
}

// export reads the ledger in every format.
func (w *watched) export() {
	for _, format := range []string{"json", "jsonl", "csv"} {
		w.api("GET", "events?format="+format, w.secrets["the owner's key"], nil, false).made(w.t)
		w.api("GET", "events?format="+format, w.secrets["another workspace's key"], nil, false).made(w.t)
	}
}

// keptOnPurpose are the files whose purpose is to keep a secret, each readable by its owner alone.
var keptOnPurpose = []string{"setup.key", "master.key", "workspace.json", "dev.env", "password-18"}

// search looks into everything for every secret: in clear, and as the parts of it that mean something alone.
func (w *watched) search() {
	files := 0
	err := filepath.WalkDir(w.project, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if slices.Contains(keptOnPurpose, entry.Name()) {
			info, err := entry.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				w.t.Errorf("%s is readable by others: %v", path, info.Mode())
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		w.look(strings.TrimPrefix(path, w.project+"/"), text)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for where, text := range w.told {
		w.look(where, text)
	}
	if files < 100 || len(w.told) < 50 || len(w.secrets) < 12 {
		w.t.Errorf("only %d secrets were looked for, in %d files and %d answers", len(w.secrets), files, len(w.told))
	}
}

func (w *watched) look(where string, text []byte) {
	for what, secret := range w.secrets {
		for _, form := range forms(secret) {
			if bytes.Contains(text, []byte(form)) {
				w.t.Errorf("%s has %s", where, what)
				break
			}
		}
	}
}

// forms are what a secret looks like: as it is, escaped for an address, and its secret part alone where the rest is a name.
func forms(secret string) []string {
	all := []string{secret, url.QueryEscape(secret)}
	if strings.HasPrefix(secret, "ck_") {
		all = append(all, secret[strings.LastIndexByte(secret, '_')+1:])
	}
	if parts := strings.Split(secret, "."); len(parts) == 3 {
		all = append(all, parts[2]) // a token's signature
	}
	return all
}
