package launch_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/caracal-gateway/caracal/internal/pki"
	"github.com/caracal-gateway/caracal/launch"
)

const (
	mandate = "mdt_h47vgm5ntrquvvfd3wen2r4n2e"
	token   = "eyJh.canary-of-the-token.sig"
)

// surroundings are those of a gateway on this host, with their files.
func surroundings(t *testing.T, there []string) (launch.Surroundings, []byte) {
	t.Helper()
	proxy, err := launch.ParseProxy("http://somebody:else@127.0.0.1:3128", false)
	if err != nil {
		t.Fatal(err)
	}
	s := launch.Surroundings{Proxy: proxy, Mandate: mandate, Token: token, Gateway: "http://127.0.0.1:8443", Secrets: []string{"ck_agent_secret", ""}}
	ca := []byte(pki.New(t).PEM())
	if err := s.Write(there, ca); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Files.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s, ca
}

func value(environment []string, name string) (string, int) {
	found, count := "", 0
	for _, v := range environment {
		if n, value, _ := strings.Cut(v, "="); n == name {
			found, count = value, count+1
		}
	}
	return found, count
}

func TestAProgramFindsTheProxyAndWhatToBelieveUnderEveryName(t *testing.T) {
	s, _ := surroundings(t, nil)
	got := s.Environment([]string{"PATH=/bin", "HTTPS_PROXY=http://past.it:1", "NO_PROXY=*", "SSL_CERT_DIR=/etc", "JAVA_TOOL_OPTIONS=-Xmx1g"})
	proxy := "http://" + mandate + ":" + token + "@127.0.0.1:3128"
	for name, want := range map[string]string{
		"PATH": "/bin", "HTTP_PROXY": proxy, "http_proxy": proxy, "HTTPS_PROXY": proxy, "https_proxy": proxy, "ALL_PROXY": proxy, "all_proxy": proxy,
		"NO_PROXY": "", "no_proxy": "", "npm_config_noproxy": "",
		"SSL_CERT_FILE": s.Files.Roots, "REQUESTS_CA_BUNDLE": s.Files.Roots, "CURL_CA_BUNDLE": s.Files.Roots, "GIT_SSL_CAINFO": s.Files.Roots,
		"PIP_CERT": s.Files.Roots, "NODE_EXTRA_CA_CERTS": s.Files.Roots, "AWS_CA_BUNDLE": s.Files.Roots, "npm_config_cafile": s.Files.Roots,
		"CARGO_HTTP_CAINFO": s.Files.Roots, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": s.Files.Roots, "DENO_CERT": s.Files.Roots,
		"NODE_USE_ENV_PROXY": "1", "GIT_HTTP_PROXY_AUTHMETHOD": "basic", "WGETRC": s.Files.Wget,
		"CARACAL_PROXY_URL": proxy, "CARACAL_MANDATE_ID": mandate, "CARACAL_AGENT_JWT": token, "CARACAL_CA_FILE": s.Files.Roots, "CARACAL_GATEWAY_URL": "http://127.0.0.1:8443",
	} {
		if found, n := value(got, name); found != want || n != 1 {
			t.Errorf("%s is %q, %d times, want %q", name, found, n, want)
		}
	}
	if _, n := value(got, "SSL_CERT_DIR"); n != 0 {
		t.Error("SSL_CERT_DIR is still there")
	}
	java, _ := value(got, "JAVA_TOOL_OPTIONS")
	for _, option := range []string{"-Xmx1g ", "-Dhttps.proxyHost=127.0.0.1 ", "-Dhttps.proxyPort=3128 ", "-Djavax.net.ssl.trustStore=" + s.Files.Store, "-Dhttp.nonProxyHosts= "} {
		if !strings.Contains(java, option) {
			t.Errorf("JAVA_TOOL_OPTIONS lacks %q: %s", option, java)
		}
	}
	if strings.Contains(java, "canary") {
		t.Error("every Java machine would print the token")
	}
}

func TestAProgramGetsNoSettingAndNoSecretOfWhoeverStartsIt(t *testing.T) {
	s, _ := surroundings(t, nil)
	got := s.Environment([]string{
		"CARACAL_API_KEY=ck_member_x", "CARACAL_AGENT_API_KEY=ck_agent_secret", "ENTERPRISE_API_KEY=ck_gateway_y", "CARACAL_CONTEXT=mine", "CARACAL_URL=http://c",
		"COPY=Bearer ck_agent_secret", "OPENAI_API_KEY=sk-mine",
	})
	for _, name := range []string{"CARACAL_API_KEY", "CARACAL_AGENT_API_KEY", "ENTERPRISE_API_KEY", "CARACAL_CONTEXT", "CARACAL_URL", "COPY"} {
		if _, n := value(got, name); n != 0 {
			t.Errorf("it has %s", name)
		}
	}
	if slices.ContainsFunc(got, func(v string) bool { return strings.Contains(v, "ck_") }) {
		t.Errorf("it holds a key: %v", got)
	}
	if v, _ := value(got, "OPENAI_API_KEY"); v != "sk-mine" {
		t.Error("what is its own is gone")
	}
}

func TestHostsThatAreNamedAreReachedWithoutTheProxy(t *testing.T) {
	s, _ := surroundings(t, nil)
	s.Ungoverned = "localhost,127.0.0.1"
	got := s.Environment(nil)
	if v, _ := value(got, "NO_PROXY"); v != "localhost,127.0.0.1" {
		t.Errorf("NO_PROXY is %q", v)
	}
	if v, _ := value(got, "JAVA_TOOL_OPTIONS"); !strings.Contains(v, "-Dhttp.nonProxyHosts=localhost|127.0.0.1 ") {
		t.Errorf("JAVA_TOOL_OPTIONS is %q", v)
	}
}

func TestTheFilesAreNobodyElsesAndHoldTheHostsRootsBesideTheGateways(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".wgetrc"), []byte("tries = 1\nhttps_proxy = http://past.it:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := pki.New(t).PEM()
	chosen := filepath.Join(home, "roots.pem")
	if err := os.WriteFile(chosen, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	s, ca := surroundings(t, []string{"HOME=" + home, "SSL_CERT_FILE=" + chosen})
	if info, err := os.Stat(s.Files.Directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v %v", info.Mode(), err)
	}
	for path, holds := range map[string][]string{
		s.Files.Roots: {strings.TrimSpace(string(ca)), strings.TrimSpace(other)},
		s.Files.Wget:  {"tries = 1", "ca_certificate = " + s.Files.Roots, "https_proxy = http://" + mandate + ":" + token},
		s.Files.Java:  {"-Dhttps.proxyUser=" + mandate, "-Dhttps.proxyPassword=" + token},
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		for _, want := range holds {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q:\n%s", path, want, text)
			}
		}
	}
	wget, _ := os.ReadFile(s.Files.Wget)
	if strings.LastIndex(string(wget), "https_proxy = ") < strings.Index(string(wget), "past.it") {
		t.Error("the user's proxy comes last")
	}
	store, err := os.ReadFile(s.Files.Store)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := pkcs12.DecodeTrustStore(store, "changeit"); err != nil || len(found) != 2 {
		t.Errorf("Java's store holds %d certificates: %v", len(found), err)
	}
	if err := s.Files.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Files.Directory); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestAProxyIsOnThisHostOrBehindTLS(t *testing.T) {
	for text, c := range map[string]struct {
		plain bool
		want  string
	}{
		"http://127.0.0.1:3128":                {false, "http://127.0.0.1:3128"},
		"http://mdt_x:secret@localhost:3128/":  {false, "http://localhost:3128"},
		"http://[::1]:3128":                    {false, "http://[::1]:3128"},
		"https://proxy.example.com":            {false, "https://proxy.example.com:443"},
		"http://proxy.example.com:3128":        {false, ""},
		"http://10.0.0.1:3128":                 {true, "http://10.0.0.1:3128"},
		"http://127.0.0.1.example.com:3128":    {false, ""},
		"socks5://127.0.0.1:1080":              {false, ""},
		"127.0.0.1:3128":                       {false, ""},
		"http://127.0.0.1:3128/path":           {false, ""},
		"http://:secret@/":                     {false, ""},
		"http://mdt_x:canary@127.0.0.1:x":      {false, ""},
		"http://127.0.0.1:3128?query=1":        {false, ""},
		"http://localhost.example.com:3128":    {false, ""},
		"http://user:canary@10.0.0.1:3128":     {false, ""},
		"http://127.0.0.1":                     {false, "http://127.0.0.1:80"},
		"HTTP://LOCALHOST:3128":                {false, "http://LOCALHOST:3128"},
		"http://169.254.169.254:80":            {false, ""},
		"http://127.0.0.2:3128":                {false, "http://127.0.0.2:3128"},
		"http://0.0.0.0:3128":                  {false, ""},
		"http://[::ffff:127.0.0.1]:3128":       {false, "http://[::ffff:127.0.0.1]:3128"},
		"http://[fe80::1%25eth0]:3128":         {false, ""},
		"https://user:canary@proxy.example:99": {false, "https://proxy.example:99"},
	} {
		got, err := launch.ParseProxy(text, c.plain)
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error tells the secret: %v", text, err)
		}
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("%s: %v %v, want %q", text, got, err, c.want)
		}
	}
}
