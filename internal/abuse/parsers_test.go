package abuse_test

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/internal/abuse"
)

// place is where a reader of URLs believes that one leads.
type place struct {
	Scheme string `json:"scheme"`
	Host   string `json:"host"` // in lower case, without a dot behind it
	Port   int    `json:"port"` // the scheme's own when there is none
	Target string `json:"target"`
}

// python reads URLs the three ways that its standard library has: urlsplit, the splitting of urllib.request, and the
// request line that http.client writes. What a reader refuses is told as null.
const python = `
import http.client, io, json, sys, urllib.parse, urllib.request

PORTS = {"https": 443, "http": 80}

def place(scheme, host, port, target):
    return {"scheme": scheme, "host": host.lower().removesuffix("."), "port": port or PORTS[scheme], "target": target or "/"}

def rooted(target):
    return target if target.startswith("/") else "/" + target

def urlsplit(text):
    u = urllib.parse.urlsplit(text)
    return place(u.scheme, u.hostname, u.port, rooted(u.path) + ("?" + u.query if u.query else ""))

def request(text):
    r = urllib.request.Request(text)
    host, _, port = r.host.partition(":")
    return place(r.type, host, int(port or 0), rooted(r.selector))

class Socket(io.BytesIO):
    def sendall(self, data):
        self.write(data)

def client(text):
    u = urllib.parse.urlsplit(text)
    c = (http.client.HTTPSConnection if u.scheme == "https" else http.client.HTTPConnection)(u.netloc)
    c.sock = s = Socket()
    c.request("GET", rooted(u.path) + ("?" + u.query if u.query else ""))
    line = s.getvalue().decode("latin-1").split("\r\n")[0]
    method, target, version = line.split(" ")
    return place(u.scheme, c.host, c.port, target)

def read(reader, text):
    try:
        return reader(text)
    except Exception as e:
        return {"scheme": type(e).__name__, "host": str(e)}

for line in sys.stdin:
    text = json.loads(line)
    print(json.dumps({f.__name__: read(f, text) for f in (urlsplit, request, client)}))
`

// TestNoTwoReadersFindDifferentPlacesInAnAcceptedTarget compares our own reading of every target that is accepted with
// those of Go's net/url and of Python.
func TestNoTwoReadersFindDifferentPlacesInAnAcceptedTarget(t *testing.T) {
	accepted := acceptedTargets(t)
	lines := make([]string, len(accepted))
	for i, target := range accepted {
		text, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = string(text)
	}
	command := exec.CommandContext(t.Context(), "python3", "-c", python)
	command.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	out, err := command.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for _, target := range accepted {
		readings := map[string]place{}
		if err := decoder.Decode(&readings); err != nil {
			t.Fatal(err)
		}
		if len(readings) != 3 {
			t.Fatalf("python3 has %d readings of %q", len(readings), target)
		}
		readings["net/url"] = goReading(target)
		want := ourReading(t, target)
		for reader, got := range readings {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q by %s (-ours +theirs):\n%s", target, reader, diff)
			}
		}
	}
}

// acceptedTargets are those of the cases that ParseTarget accepts, and a few thousand that are put together from what
// makes readers differ.
func acceptedTargets(t *testing.T) []string {
	t.Helper()
	var all []string
	s := newStage(t, start)
	s.names["port.trap"], s.names["port.gateway"] = "9", "8443"
	for _, c := range cases(t, abuse.AtCheck) {
		if target, err := s.names.Expand(c.Request.Target); err == nil {
			all = append(all, target)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		for range 40 {
			all = append(all, rapid.SampledFrom(schemes).Draw(r, "scheme")+
				strings.Join(rapid.SliceOfN(rapid.SampledFrom(hosts), 1, 2).Draw(r, "host"), "")+
				rapid.SampledFrom(ports).Draw(r, "port")+
				strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 6).Draw(r, "path"), ""))
		}
	})
	var accepted []string
	for _, target := range all {
		if _, err := authority.ParseTarget(target); err == nil {
			accepted = append(accepted, target)
		}
	}
	if len(accepted) < 200 {
		t.Fatalf("only %d targets of %d are accepted, too few to tell anything", len(accepted), len(all))
	}
	return accepted
}

// What targets are put together from.
var (
	schemes = []string{"https://", "https://", "https://", "http://", "HTTPS://", "https:/", "//"}
	hosts   = []string{"echo.test", "ECHO.test", "echo.test.", "a-b.test", "xn--bcher-kva.test", "localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "a@", "a:b@", "%65", "é", "-a", "a_b"}
	ports   = []string{"", "", "", ":443", ":80", ":9443", ":", ":0", ":09443", ":65536", ":+1"}
	pieces  = []string{"/", "/v1", "/v1/models", "/..", "/.", "/...", "//", "\\", ";a=b", "%2e", "%2f", "%5c", "%25", "%20", "%c3%a9", "%00", "%0a", "@evil.test", ":8080", "?", "?a=b", "&c=d", "?x=https://evil.test/", "#", "#a", "+", "!$&'()*,=", "~", "|", "\"", "<", "[", "a", "*"}
)

func ourReading(t *testing.T, text string) place {
	t.Helper()
	target, err := authority.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return place{target.Scheme, target.Host, int(target.Port), target.RequestPath()}
}

func goReading(text string) place {
	u, err := url.Parse(text)
	if err != nil {
		return place{Scheme: err.Error()}
	}
	p := place{Scheme: u.Scheme, Host: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), Target: u.RequestURI()}
	if u.User != nil || u.Fragment != "" || u.Opaque != "" {
		p.Scheme = "a URL with more than scheme, host, port, path and query"
	}
	if p.Port, err = strconv.Atoi(u.Port()); err != nil {
		p.Port = map[string]int{"https": 443, "http": 80}[u.Scheme]
	}
	return p
}
