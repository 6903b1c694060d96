package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/client"
)

// examined is what the doctor found, by the name of the check.
func (e environment) examined(t *testing.T, args ...string) (map[string]finding, error) {
	t.Helper()
	stdout, stderr, err := e.caracal(t, "", append([]string{"doctor", "-o", "json"}, args...)...)
	var all []finding
	if json.Unmarshal([]byte(stdout), &all) != nil {
		t.Fatalf("the doctor printed %s%s (%v)", stdout, stderr, err)
	}
	found := map[string]finding{}
	for _, f := range all {
		found[f.Check] = f
	}
	return found, err
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// pretending is a server that says something of its own to whatever it is asked.
func pretending(t *testing.T, status int, body string, date time.Time) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestTheDoctorNamesWhatIsWrongAndWhatToDo(t *testing.T) {
	plainShell, secureShell := serverEnvironment(t), serverEnvironment(t)
	secureShell["CARACAL_TLS_CERT"], secureShell["CARACAL_TLS_KEY"] = certificateFiles(t)
	secureAddress := secureShell.serve(t)
	owner := member(t, "http://"+plainShell.serve(t))
	port := owner["CARACAL_URL"][strings.LastIndex(owner["CARACAL_URL"], ":"):]
	soon := owner.must(t, "key", "create", "soon", "--kind", "member", "--principal", owner["owner"], "--expires-in", "24h")
	revoked := owner.must(t, "key", "create", "gone", "--kind", "member", "--principal", owner["owner"])
	owner.must(t, "key", "revoke", revoked["key_id"].(string))
	agent := owner.must(t, "principal", "create", "agent")
	now := time.Now()
	at := func(url string) environment { return owner.with(environment{"CARACAL_URL": url}) }
	key := func(k any) environment { return owner.with(environment{"CARACAL_API_KEY": k.(string)}) }
	for sentence, c := range map[string]struct {
		shell environment
		args  []string
		check string
		state string
		says  string // in the detail or in what to do
	}{
		"all is well":                           {owner, nil, "key", findingOK, "owner of my-team"},
		"no gateway":                            {owner, nil, "gateways", findingWarn, "caracal key create NAME --kind gateway"},
		"the server is down":                    {at("http://" + closedPort(t)), nil, "connection", findingFail, "see that the control plane runs"},
		"a name that nobody knows":              {at("https://control.invalid"), nil, "name", findingFail, "name servers know it"},
		"TLS that nobody vouches for":           {at("https://" + secureAddress), nil, "encryption", findingFail, "set CARACAL_CA_FILE"},
		"TLS under another name":                {at("https://localhost:" + secureAddress[strings.LastIndex(secureAddress, ":")+1:]).with(environment{"CARACAL_CA_FILE": secureShell["CARACAL_TLS_CERT"]}), nil, "encryption", findingFail, "a name that its certificate has"},
		"TLS with a certificate that ends":      {at("https://" + secureAddress).with(environment{"CARACAL_CA_FILE": secureShell["CARACAL_TLS_CERT"]}), nil, "encryption", findingWarn, "the server's certificate ends in 1h"},
		"https to a port without TLS":           {at("https://127.0.0.1" + port), nil, "encryption", findingFail, "speaks no TLS"},
		"http to a port with TLS":               {at("http://" + secureAddress), nil, "server", findingFail, "write https://"},
		"http beyond this machine":              {at("http://control.example"), nil, "settings", findingFail, "unencrypted"},
		"a URL that is none":                    {at("control"), nil, "settings", findingFail, "not of the form"},
		"a CA file that is not there":           {owner.with(environment{"CARACAL_CA_FILE": "/nowhere"}), nil, "settings", findingFail, "CARACAL_CA_FILE"},
		"somebody else's page":                  {at(pretending(t, 200, "<html>welcome", now)), nil, "server", findingFail, "is the control plane's address"},
		"a proxy that has lost it":              {at(pretending(t, 502, "bad gateway", now)), nil, "server", findingFail, "answered 502"},
		"a gateway's port":                      {at(pretending(t, 200, `{"status":"ok","enterprise_sync":{"connected":true}}`, now)), nil, "server", findingFail, "set CARACAL_URL to the control plane"},
		"a control plane without its database":  {at(pretending(t, 200, `{"status":"degraded","database":"unavailable"}`, now)), nil, "server", findingFail, "the control plane's log"},
		"a clock that is far behind":            {at(pretending(t, 200, `{"status":"ok","database":"ok"}`, now.Add(-time.Hour))), nil, "clock", findingFail, "behind this machine's"},
		"a clock that is somewhat ahead":        {at(pretending(t, 200, `{"status":"ok","database":"ok"}`, now.Add(30*time.Second))), nil, "clock", findingWarn, "ahead of this machine's"},
		"no key":                                {environment{"CARACAL_URL": owner["CARACAL_URL"]}, nil, "key", findingFail, "caracal login"},
		"a wrong key":                           {key("wrong"), nil, "key", findingFail, "the key of CARACAL_API_KEY is not accepted"},
		"a revoked key":                         {key(revoked["api_key"]), nil, "key", findingFail, "wrong, revoked, expired"},
		"a key that ends soon":                  {key(soon["api_key"]), nil, "expiry", findingWarn, "caracal key rotate " + soon["key_id"].(string)},
		"a wrong slug":                          {owner.with(environment{"CARACAL_WORKSPACE": "my-taem"}), nil, "workspace", findingFail, "to one of: my-team"},
		"an agent's key, which may not look":    {owner.with(environment{"CARACAL_API_KEY": agent["api_key"].(string)}), nil, "workspace", findingSkip, "may not look"},
		"a gateway that is down":                {owner, []string{"--gateway", "http://" + closedPort(t)}, "", findingFail, "the gateway and its Envoy run"},
		"a gateway that denies everything":      {owner, []string{"--gateway", pretending(t, 200, `{"status":"fenced","reasons":["no bundle"],"enterprise_sync":{"connected":false}}`, now)}, "", findingFail, "denies everything: no bundle"},
		"a gateway with its last good state":    {owner, []string{"--gateway", pretending(t, 200, `{"status":"degraded","reasons":["not connected"],"enterprise_sync":{"connected":false}}`, now)}, "", findingWarn, "last good state: not connected"},
		"a gateway that is no proxy":            {owner, []string{"--gateway", pretending(t, 200, `{"status":"ok","enterprise_sync":{"policies_synced":2}}`, now)}, "", findingOK, "with 2 policies; it has no proxy port"},
		"a gateway that is a proxy":             {owner, []string{"--gateway", pretending(t, 200, `{"status":"ok","enterprise_sync":{},"proxy":{"port":3128,"inspects":true}}`, now)}, "", findingOK, "proxy port is 3128, where TLS is seen inside"},
		"a proxy that nothing is certified for": {owner, []string{"--gateway", pretending(t, 200, `{"status":"degraded","reasons":["TLS cannot"],"enterprise_sync":{},"proxy":{"port":3128,"inspects":false}}`, now)}, "", findingWarn, "last good state: TLS cannot; its proxy port is 3128, where TLS is not seen inside"},
		"the control plane taken for a gateway": {owner, []string{"--gateway", owner["CARACAL_URL"]}, "", findingFail, "not what a gateway says"},
	} {
		t.Run(sentence, func(t *testing.T) {
			found, err := c.shell.examined(t, c.args...)
			check := c.check
			if check == "" {
				check = "gateway " + c.args[1]
			}
			f := found[check]
			if f.State != c.state || !strings.Contains(f.Detail+" → "+f.Next, c.says) {
				t.Errorf("%s is %+v, want %s and %q", check, f, c.state, c.says)
			}
			if f.Next == "" && (f.State == findingFail || f.State == findingWarn) {
				t.Errorf("%s does not say what to do", check)
			}
			want := exitDone
			for _, f := range found {
				if f.State == findingFail {
					want = exitFailed
				}
			}
			if got := statusOf(err); got != want {
				t.Errorf("it ended with %d, want %d", got, want)
			}
		})
	}
}

// A lease that was not renewed in time is told before the control plane concludes that it is over.
func TestTheDoctorTellsOfALeaseThatWasNotRenewed(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	for sentence, tc := range map[string]struct {
		ends  time.Time
		state string
	}{
		"it runs":         {now.Add(20 * time.Second), findingOK},
		"it was to end":   {now.Add(-3 * time.Second), findingWarn},
		"there is no end": {time.Time{}, findingOK},
	} {
		x := &examination{output: &output{now: func() time.Time { return now }}, revision: 4}
		g := client.Gateway{ID: "gtw_a", State: client.GatewayInSync, Connected: true, Revision: 4}
		if !tc.ends.IsZero() {
			g.Lease = &client.GatewayLease{EndsAt: tc.ends}
		}
		x.gateway(g)
		if got := x.findings[0]; got.State != tc.state {
			t.Errorf("%s, and the doctor says %+v", sentence, got)
		}
	}
}

func TestStatusTellsOfARestoredDatabaseOnOneLine(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			fmt.Fprint(w, `{"status":"degraded","database":"restored","restored":{"gateways":[{"gateway_id":"gtw_a","revision":9,"database_revision":6}]}}`)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":503,"code":"restored_backup","detail":"the database was restored from a backup"}`)
	}))
	t.Cleanup(server.Close)
	_, stderr, err := environment{"CARACAL_URL": server.URL, "CARACAL_API_KEY": "x"}.caracal(t, "", "status")
	if err == nil || !strings.Contains(stderr, "gtw_a enforces revision 9, the database has 6") || strings.Contains(stderr, `\u000a`) {
		t.Errorf("it ended with %v and said %s", err, stderr)
	}
}

// The doctor goes on telling what it knows, for people, where it meets words of somebody else.
func TestTheDoctorsReportIsForPeople(t *testing.T) {
	url := pretending(t, 200, "\x1b[2Jhello\u202e", time.Now())
	stdout, _, err := environment{"CARACAL_URL": url, "CARACAL_API_KEY": "x"}.caracal(t, "", "doctor")
	if statusOf(err) != exitFailed || strings.Contains(stdout, "\x1b") || strings.Contains(stdout, "\u202e") {
		t.Errorf("it ended with %v and printed %q", err, stdout)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "fail  server") })
	if at < 0 || at+1 >= len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[at+1]), "→ see that CARACAL_URL") {
		t.Errorf("it printed\n%s", stdout)
	}
}

// A server that accepts and says nothing is not waited for without end.
func TestTheDoctorEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan struct{})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 1)
			if n, _ := conn.Read(buffer); n == 1 { // the question has come, and stays without an answer
				close(accepted)
				return
			}
			_ = conn.Close()
		}
	}()
	ended := make(chan error, 1)
	go func() {
		shell := environment{"CARACAL_URL": "http://" + listener.Addr().String(), "CARACAL_API_KEY": "x"}
		ended <- run(ctx, []string{"doctor"}, shell.get, strings.NewReader(""), &lines{}, &lines{})
	}()
	<-accepted
	cancel()
	if err := <-ended; err == nil {
		t.Error("it found nothing wrong")
	}
}
