package clients_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// unmodified is a client as its users start it.
type unmodified struct {
	// script is a shell command, with REALM for the realm that it calls.
	script string
	// prints is what shows that it worked.
	prints string
	// shows is what a person sees of a denial inside of the tunnel, and untold of one of the tunnel itself.
	shows, untold string
}

const (
	// decision is an id by which the ledger has more to say.
	decision = `dec_[a-z2-7]{26}`
	// told is the whole denial, as the gateway writes it.
	told = `"message":"The mandate does not cover the resource .*"decision_id":"` + decision
)

var here = map[string]unmodified{
	"curl over HTTP/1.1": {
		script: `curl -sS --fail-with-body --http1.1 https://web.REALM.test/hello`, prints: `hello of the web, by HTTP/`, shows: told, untold: `CONNECT tunnel failed, response 403`,
	},
	"curl over HTTP/2": {
		script: `curl -sS --fail-with-body --http2 -w '%{http_version}' https://web.REALM.test/hello`, prints: `hello of the web, by HTTP/2.0\n2`, shows: told, untold: `CONNECT tunnel failed, response 403`,
	},
	"curl to a server that asks for a client certificate": {
		script: `curl -sS --fail-with-body https://mutual.REALM.test/hello`, prints: `a client certificate is here`, shows: told, untold: `CONNECT tunnel failed, response 403`,
	},
	"git clone": {
		script: `git clone https://web.REALM.test/git/project.git && git -C project log --oneline`, prints: `first`, shows: `remote: The mandate does not cover the resource .*` + decision, untold: `CONNECT tunnel failed, response 403`,
	},
	"git push": {
		script: `git init -q -b main p && cd p && git -c user.name=A -c user.email=a@b.test commit -q --allow-empty -m more &&
			git push https://web.REALM.test/git/project.git HEAD:refs/heads/$RANDOM-$$`, prints: `new branch`, shows: `remote: The mandate does not cover the resource .*` + decision, untold: `CONNECT tunnel failed, response 403`,
	},
	"pip": {
		script: `python -m pip install --no-cache-dir --retries 0 --target lib --index-url https://pypi.REALM.test/simple/ caracal-greeting && PYTHONPATH=lib python -c 'import caracal_greeting; print(caracal_greeting.greet())'`,
		prints: `hello of the wheel`, shows: `No matching distribution found`, untold: `No matching distribution found`,
	},
	"uv": {
		script: `python -m uv pip install --no-cache --python python --target lib --index-url https://pypi.REALM.test/simple/ caracal-greeting && PYTHONPATH=lib python -c 'import caracal_greeting; print(caracal_greeting.greet())'`,
		prints: `hello of the wheel`, shows: `403`, untold: `tunnel`,
	},
	"npm": {
		script: `npm install --no-audit --no-fund --fetch-retries=0 --registry https://web.REALM.test/npm/ caracal-greeting && node -p "require('caracal-greeting')"`,
		prints: `hello of the package`, shows: `E403(.|\n)*resource_not_in_scope`, untold: `E403`,
	},
	"Node.js fetch with undici": {
		script: `node "$MODULES/fetch.mjs" REALM undici`, prints: `200 hello of the web`, shows: told, untold: `Proxy response \(403\)`,
	},
	"Go net/http":            {script: `gofetch REALM`, prints: `hello of the web, by HTTP/2.0`, shows: told, untold: `: Forbidden`},
	"Python urllib":          {script: `python "$CLIENTS/python/with_urllib.py" REALM`, prints: `hello of the web`, shows: told, untold: `Tunnel connection failed: 403 Forbidden`},
	"requests":               {script: `python "$CLIENTS/python/with_requests.py" REALM`, prints: `hello of the web`, shows: told, untold: `Tunnel connection failed: 403 Forbidden`},
	"httpx":                  {script: `python "$CLIENTS/python/with_httpx.py" REALM`, prints: `HTTP/1.1 hello of the web`, shows: told, untold: `ProxyError: 403 Forbidden`},
	"httpx over HTTP/2":      {script: `python "$CLIENTS/python/with_httpx.py" REALM 2`, prints: `HTTP/2 hello of the web`, shows: told, untold: `ProxyError: 403 Forbidden`},
	"aiohttp with trust_env": {script: `python "$CLIENTS/python/with_aiohttp.py" REALM`, prints: `hello of the web`, shows: told, untold: `ClientHttpProxyError: 403, message='Forbidden'`},
	"openai":                 {script: `python "$CLIENTS/python/with_openai.py" REALM`, prints: "hello of the model\nstreamed\nhello", shows: told, untold: `ProxyError: 403 Forbidden`},
	"anthropic":              {script: `python "$CLIENTS/python/with_anthropic.py" REALM`, prints: "hello of the model\nstreamed hello", shows: `'message': 'The mandate does not cover the resource .*` + decision, untold: `ProxyError: 403 Forbidden`},
	"mcp":                    {script: `python "$CLIENTS/python/with_mcp.py" REALM`, prints: `\['add'\]\n42`, shows: `Server returned an error response`, untold: `ProxyError: 403 Forbidden`},
	"grpcio":                 {script: `python "$CLIENTS/python/with_grpc.py" REALM 3`, prints: "hello Ada greeted Ada\n1\n2\n3\ncounted 3", shows: told, untold: `HTTP proxy returned response code 403`},
	"websockets":             {script: `python "$CLIENTS/python/with_websockets.py" REALM once`, prints: `you said hello`, shows: `server rejected WebSocket connection: HTTP 403`, untold: `proxy rejected connection: HTTP 403`},
}

func TestUnmodifiedClientsAreGovernedThroughTheProxy(t *testing.T) {
	s := newSite(t)
	s.tryAll(t, here, large)
}

// tryAll runs all clients, several at once, each as an agent of its own.
func (s *site) tryAll(t *testing.T, tables ...map[string]unmodified) {
	t.Helper()
	t.Run("clients", func(t *testing.T) {
		for _, table := range tables {
			for name, c := range table {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s.try(t, name, c)
				})
			}
		}
	})
	s.nothingOfOursArrived(t)
}

// try runs a client where it may and where it may not, and looks at what the ledger says of both.
func (s *site) try(t *testing.T, name string, c unmodified) {
	t.Helper()
	a := s.newAgent(t, name)
	a.works(t, c)
	a.recorded(t, authority.EventAllowed, "inside", "api:open/")
	a.isRefused(t, in("closed", c.script), c.shows)
	a.recorded(t, authority.EventDenied, "inside", "api:closed/")
	a.isRefused(t, in("barred", c.script), c.untold)
	a.recorded(t, authority.EventDenied, "connect", "")
}

// isRefused runs what has to fail, and to show why.
func (a agent) isRefused(t *testing.T, script, shows string) {
	t.Helper()
	refused := a.run(t, script)
	t.Logf("it ends with %d and prints\n%s", refused.status, refused.output)
	if refused.status == 0 || !regexp.MustCompile(shows).MatchString(refused.output) {
		t.Errorf("it ends with %d and does not show %q", refused.status, shows)
	}
}

func (a agent) works(t *testing.T, c unmodified) {
	t.Helper()
	if allowed := a.run(t, in("open", c.script)); allowed.status != 0 || !regexp.MustCompile(c.prints).MatchString(allowed.output) {
		t.Fatalf("allowed, it ends with %d and prints\n%s", allowed.status, allowed.output)
	}
}

// recorded waits until the ledger has a decision on what the agent asked for in some way.
func (a agent) recorded(t *testing.T, kind authority.EventType, mode, resource string) {
	t.Helper()
	var seen []authority.Event
	err := until(t.Context(), "the decision is in the ledger", func() bool {
		var err error
		if seen, err = a.owner.Events(t.Context(), client.Filter{"principal_id": string(a.id), "event_type": string(kind)}, 50); err != nil {
			t.Fatal(err)
		}
		for _, e := range seen {
			if e.Request != nil && e.Request.Mode == mode && strings.HasPrefix(string(e.Resource), resource) {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Errorf("%s %s of %s: %v; it has %+v", kind, mode, resource, err, seen)
	}
}

// ours is what no upstream may ever see: credentials of principals, mandates, and headers that are between a client and its
// gateway.
var ours = regexp.MustCompile(`(?i)ck_(agent|user|service|gateway)_|eyJ[a-z0-9_-]{8,}\.|mdt_[a-z2-7]{20}|proxy-(authorization|connection|authenticate)|x-caracal-`)

func (s *site) nothingOfOursArrived(t *testing.T) {
	t.Helper()
	all := s.all(t)
	if len(all) == 0 {
		t.Error("the upstreams saw nothing")
	}
	for _, line := range all {
		if ours.MatchString(line) {
			t.Errorf("an upstream saw %s", line)
		}
	}
}
