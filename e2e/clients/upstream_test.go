package clients_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/internal/pki"
)

// upstreams are the servers behind the gateway: one of this process, which is also the web server before git http-backend,
// and those of testdata/python/servers.py.
type upstreams struct {
	dir    string
	ca     *pki.CA
	client *pki.CA        // that the server which asks for client certificates trusts
	ports  map[string]int // by the first label of the host

	mu   sync.Mutex // guards seen
	seen []string   // what came to the server of this process: method, path and headers, a line each
}

// realms are the second labels of the hosts, each of a resource of its own. Mandates cover what is open. They cover next to
// nothing of what is closed, which is refused inside of the tunnel; and nothing at all of what is barred, so that there is
// not even a tunnel.
var realms = []string{"open", "closed", "barred"}

func newUpstreams(t *testing.T, dir string) *upstreams {
	t.Helper()
	u := &upstreams{dir: dir, ca: pki.New(t), client: pki.New(t), ports: map[string]int{}}
	chain, key := u.ca.Server(t, pki.DNS("*.open.test"), pki.DNS("*.closed.test"), pki.DNS("*.barred.test"))
	for name, text := range map[string][]byte{"server.pem": chain, "server.key": key, "client-ca.pem": []byte(u.client.PEM())} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u.certificate(t)
	u.packages(t)
	u.repositories(t)
	u.serveWeb(t, chain, key)
	u.servePython(t)
	return u
}

// certificate keeps what the gateway identifies itself with to the server that asks for it.
func (u *upstreams) certificate(t *testing.T) {
	t.Helper()
	chain, key := u.client.Server(t, pki.Usage(x509.ExtKeyUsageClientAuth))
	credentials := filepath.Join(u.dir, "credentials")
	if err := errors.Join(os.Mkdir(credentials, 0o700), os.WriteFile(filepath.Join(credentials, "upstream-client.crt"), chain, 0o600),
		os.WriteFile(filepath.Join(credentials, "upstream-client.key"), key, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// packages makes a Python wheel for pypiserver, and an npm package.
func (u *upstreams) packages(t *testing.T) {
	t.Helper()
	var wheel bytes.Buffer
	files := zip.NewWriter(&wheel)
	for name, text := range map[string]string{
		"caracal_greeting.py":                     "def greet():\n    return 'hello of the wheel'\n",
		"caracal_greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: caracal-greeting\nVersion: 1.0\n",
		"caracal_greeting-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"caracal_greeting-1.0.dist-info/RECORD":   "caracal_greeting.py,,\ncaracal_greeting-1.0.dist-info/METADATA,,\ncaracal_greeting-1.0.dist-info/WHEEL,,\ncaracal_greeting-1.0.dist-info/RECORD,,\n",
	} {
		w, err := files.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), os.Mkdir(filepath.Join(u.dir, "packages"), 0o755),
		os.WriteFile(filepath.Join(u.dir, "packages", "caracal_greeting-1.0-py3-none-any.whl"), wheel.Bytes(), 0o644),
		os.Mkdir(filepath.Join(u.dir, "npm"), 0o755),
		os.WriteFile(filepath.Join(u.dir, "npm", "package.json"), []byte(`{"name": "caracal-greeting", "version": "1.0.0", "main": "index.js"}`), 0o644),
		os.WriteFile(filepath.Join(u.dir, "npm", "index.js"), []byte("module.exports = 'hello of the package'\n"), 0o644),
		command(t.Context(), filepath.Join(u.dir, "npm"), "npm", "pack", "--silent")); err != nil {
		t.Fatal(err)
	}
}

// repositories makes a bare git repository with one commit, which takes pushes from whoever reaches it.
func (u *upstreams) repositories(t *testing.T) {
	t.Helper()
	bare := filepath.Join(u.dir, "git", "project.git")
	work := filepath.Join(u.dir, "git-work")
	who := []string{"-c", "user.name=Test", "-c", "user.email=test@example.test"}
	for _, c := range [][]string{
		{"git", "init", "--quiet", "--bare", "--initial-branch=main", bare},
		{"git", "-C", bare, "config", "http.receivepack", "true"},
		{"git", "clone", "--quiet", bare, work},
		append(append([]string{"git", "-C", work}, who...), "commit", "--quiet", "--allow-empty", "-m", "first"),
		{"git", "-C", work, "push", "--quiet", "origin", "HEAD:main"},
	} {
		if err := command(t.Context(), ".", c...); err != nil {
			t.Fatal(err)
		}
	}
}

func (u *upstreams) serveWeb(t *testing.T, chain, key []byte) {
	t.Helper()
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello of the web, by %s\n", r.Proto) })
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("/upload", upload)
	mux.HandleFunc("GET /download/{size}", download)
	mux.HandleFunc("POST /v1/chat/completions", chat)
	mux.HandleFunc("POST /v1/messages", messages)
	mux.HandleFunc("GET /npm/caracal-greeting", u.packument)
	mux.Handle("GET /npm/files/", http.StripPrefix("/npm/files/", http.FileServer(http.Dir(filepath.Join(u.dir, "npm")))))
	mux.Handle("/git/", &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(u.dir, "git"), "GIT_HTTP_EXPORT_ALL=1"},
	})
	server := httptest.NewUnstartedServer(u.seeing(mux))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	u.ports["web"] = server.Listener.Addr().(*net.TCPAddr).Port
}

// seeing keeps what a request looked like when it arrived.
func (u *upstreams) seeing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line, err := json.Marshal([]any{r.Method, r.Host, r.URL.String(), r.Header})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		u.mu.Lock()
		u.seen = append(u.seen, string(line))
		u.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// all is everything that any upstream has seen, a line each.
func (u *upstreams) all(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(u.dir, "seen.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return append(strings.Split(strings.TrimSpace(string(text)), "\n"), u.seen...)
}

func (u *upstreams) servePython(t *testing.T) {
	t.Helper()
	servers := exec.CommandContext(context.WithoutCancel(t.Context()), installed.python+"/python", "testdata/python/servers.py", u.dir)
	told, err := servers.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := servers.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "the Python servers", filepath.Join(u.dir, "python.log"), servers)
	t.Cleanup(func() { _ = stdin.Close() })
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(told).ReadString('\n') // an end shows in the line
		lines <- line
	}()
	select {
	case line := <-lines:
		if err := json.Unmarshal([]byte(line), &u.ports); err != nil {
			t.Fatalf("the Python servers tell %q: %v", line, err)
		}
	case <-p.ended:
		t.Fatal("the Python servers ended")
	case <-time.After(patience):
		t.Fatal("the Python servers do not start")
	}
}

// events sends a server-sent event every few milliseconds until its client has gone.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// upload says how much came, and whether the client waited to be asked for it.
func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "got %d bytes, expecting %q\n", n, r.Header.Get("Expect"))
}

func download(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.PathValue("size"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for block := make([]byte, 64<<10); size > 0; size -= len(block) {
		if _, err := w.Write(block[:min(size, len(block))]); err != nil {
			return
		}
	}
}

// packument describes the npm package under the host that asked.
func (u *upstreams) packument(w http.ResponseWriter, r *http.Request) {
	const file = "caracal-greeting-1.0.0.tgz"
	text, err := os.ReadFile(filepath.Join(u.dir, "npm", file))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha512.Sum512(text)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"name": "caracal-greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "caracal-greeting",
		"version": "1.0.0", "dist": {"tarball": "https://%s/npm/files/%s", "integrity": "sha512-%s"}}}}`,
		r.Host, file, base64.StdEncoding.EncodeToString(sum[:]))
}

// chat answers as OpenAI's interface does, whole or as a stream.
func chat(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Stream bool `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !asked.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id": "1", "object": "chat.completion", "created": 1, "model": "any",
			"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello of the model"}}]}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, word := range []string{"streamed", "hello"} {
		fmt.Fprintf(w, "data: {\"id\": \"1\", \"object\": \"chat.completion.chunk\", \"created\": 1, \"model\": \"any\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": %q}}]}\n\n", word)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// messages answers as Anthropic's interface does, whole or as a stream.
func messages(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Stream bool `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const message = `{"id": "1", "type": "message", "role": "assistant", "model": "any", "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}, "content": [%s]}`
	if !asked.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, message, `{"type": "text", "text": "hello of the model"}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range []string{
		`{"type": "message_start", "message": ` + fmt.Sprintf(message, "") + `}`,
		`{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}`,
		`{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "streamed hello"}}`,
		`{"type": "content_block_stop", "index": 0}`,
		`{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}`,
		`{"type": "message_stop"}`,
	} {
		var kind struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal([]byte(event), &kind); err != nil {
			return
		}
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind.Type, event)
	}
}
