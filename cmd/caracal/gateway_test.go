package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/token"
)

func TestAGatewayThatCannotBeMeantSaysWhichSettingIsWrong(t *testing.T) {
	gatewayKey, err := token.NewAPIKey(authority.KeyGateway, token.Fingerprint(strings.Repeat("a", 52)))
	if err != nil {
		t.Fatal(err)
	}
	agentKey, err := token.NewAPIKey(authority.KeyAgent, "")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := certificateFiles(t)
	_, otherKey := certificateFiles(t)
	for name, c := range map[string]struct {
		set  environment
		want string
	}{
		"nothing is set":                           {environment{"ENTERPRISE_URL": ""}, "set ENTERPRISE_URL"},
		"a URL without a scheme":                   {environment{"ENTERPRISE_URL": "control.example"}, "ENTERPRISE_URL is not of the form"},
		"a URL with a password, which logs show":   {environment{"ENTERPRISE_URL": "https://me:secret@control.example"}, "ENTERPRISE_URL is not of the form https://host[:port]\n"},
		"an agent's key":                           {environment{"ENTERPRISE_API_KEY": agentKey.Reveal()}, "ENTERPRISE_API_KEY is not the key of a gateway"},
		"no workspace":                             {environment{"ENTERPRISE_WORKSPACE": ""}, "set ENTERPRISE_WORKSPACE"},
		"an interval in words":                     {environment{"ENTERPRISE_SYNC_INTERVAL": "often"}, "ENTERPRISE_SYNC_INTERVAL has to be"},
		"a certificate without its key":            {environment{"CARACAL_TLS_CERT": certificate}, "set both of CARACAL_TLS_CERT and CARACAL_TLS_KEY"},
		"a certificate with another's key":         {environment{"CARACAL_TLS_CERT": certificate, "CARACAL_TLS_KEY": otherKey}, "reading CARACAL_TLS_CERT and CARACAL_TLS_KEY"},
		"an open port without a certificate":       {environment{"CARACAL_LISTEN": "0.0.0.0:8443"}, "would carry tokens unencrypted"},
		"an open proxy port without a certificate": {environment{"CARACAL_PROXY_LISTEN": "0.0.0.0:3128"}, "CARACAL_PROXY_LISTEN \"0.0.0.0:3128\" would carry tokens unencrypted"},
		"a proxy port on a name":                   {environment{"CARACAL_PROXY_LISTEN": "localhost:3128"}, "CARACAL_PROXY_LISTEN \"localhost:3128\" is not of the form address:port"},
		"one port for both":                        {environment{"CARACAL_PROXY_LISTEN": "127.0.0.1:8443"}, "the gateway port and the proxy port are both 8443"},
		"decisions for others without a certificate": {
			environment{"CARACAL_EXTAUTHZ_LISTEN": "127.0.0.1:9191"}, "set all of CARACAL_EXTAUTHZ_LISTEN",
		},
		"decisions for others whose certificates nobody looks at": {
			environment{"CARACAL_EXTAUTHZ_LISTEN": "127.0.0.1:9191", "CARACAL_EXTAUTHZ_CERT": certificate, "CARACAL_EXTAUTHZ_KEY": key}, "set all of CARACAL_EXTAUTHZ_LISTEN",
		},
		"authorities of others that are none": {
			environment{"CARACAL_EXTAUTHZ_LISTEN": "127.0.0.1:9191", "CARACAL_EXTAUTHZ_CERT": certificate, "CARACAL_EXTAUTHZ_KEY": key, "CARACAL_EXTAUTHZ_CLIENT_CA": key},
			"CARACAL_EXTAUTHZ_CLIENT_CA holds no PEM certificate",
		},
		"decisions for others on a name": {
			environment{"CARACAL_EXTAUTHZ_LISTEN": "localhost:9191", "CARACAL_EXTAUTHZ_CERT": certificate, "CARACAL_EXTAUTHZ_KEY": key, "CARACAL_EXTAUTHZ_CLIENT_CA": certificate},
			"CARACAL_EXTAUTHZ_LISTEN \"localhost:9191\" is not of the form",
		},
		"a resolver that is a name":                {environment{"CARACAL_DNS_RESOLVERS": "dns.example"}, "CARACAL_DNS_RESOLVERS"},
		"an Envoy that is not there":               {environment{"CARACAL_ENVOY": "/nowhere/envoy"}, "use the Envoy of CARACAL_ENVOY"},
		"a control plane that is reached in clear": {environment{"ENTERPRISE_URL": "http://control.example", "CARACAL_OWN_ENVOY": "true"}, "CARACAL_ALLOW_PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			e := environment{
				"ENTERPRISE_URL": "https://control.example", "ENTERPRISE_API_KEY": gatewayKey.Reveal(), "ENTERPRISE_WORKSPACE": "my-team",
				"CARACAL_STATE_DIR": t.TempDir(), "CARACAL_LISTEN": "127.0.0.1:8443", "CARACAL_ENVOY": "/bin/true",
			}
			maps.Copy(e, c.set)
			_, stderr, err := e.caracal(t, "", "gateway")
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("it ended with %v: %s, want %q", err, stderr, c.want)
			}
		})
	}
}
