package dev

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
)

// tokenRenewal is well within an access token's life.
const tokenRenewal = 5 * time.Minute

// live sets up the workspace, plays the story, writes the environment file and keeps it fresh until ctx ends.
func (s *stack) live(ctx context.Context) error {
	w, err := s.setUp(ctx)
	if err != nil {
		return err
	}
	if err := s.startGateways(ctx, w.GatewayKey); err != nil {
		return err
	}
	if err := s.play(ctx, w); err != nil {
		return err
	}
	mandate, err := s.writeEnvironment(ctx, w, authority.Mandate{})
	if err != nil {
		return err
	}
	defer s.removeEnvironment()
	link, err := w.signInLink(ctx)
	if err != nil {
		return err
	}
	s.introduce(w, link)
	tick := time.NewTicker(tokenRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.say("\nstopping everything")
			return nil
		case err := <-s.failed:
			return err
		case <-tick.C:
			if mandate, err = s.writeEnvironment(ctx, w, mandate); err != nil {
				s.say("%s could not be renewed: %v", s.environmentFile(), err)
			}
		}
	}
}

// writeEnvironment writes what the README's commands use, with a fresh access token, and a new mandate once half of the
// old one's time is over.
func (s *stack) writeEnvironment(ctx context.Context, w *workspace, m authority.Mandate) (authority.Mandate, error) {
	bearer, err := w.token(ctx, w.AgentKey)
	if err != nil {
		return m, err
	}
	if time.Until(m.ValidUntil) < renewedValidity/2 {
		if m, err = w.issue(ctx, renewedValidity); err != nil {
			return m, err
		}
	}
	bound, err := w.boundToken(ctx, m)
	if err != nil {
		return m, err
	}
	var b strings.Builder
	for _, v := range [][2]string{
		{"CARACAL_URL", s.controlURL()},
		{"CARACAL_GATEWAY_URL", s.gatewayURL()},
		{"CARACAL_API_KEY", w.OwnerKey},
		{"CARACAL_WORKSPACE", slug},
		{"CARACAL_ISSUER_ID", string(w.OwnerID)},
		{"CARACAL_AGENT_ID", string(w.AgentID)},
		{"CARACAL_AGENT_API_KEY", w.AgentKey},
		{"CARACAL_AGENT_JWT", bearer},
		{"CARACAL_MANDATE_ID", string(m.ID)},
		{"CARACAL_UPSTREAM_URL", s.upstreamURL()},
		{"CARACAL_PROXY_URL", s.proxyURL(m.ID, bound).String()},
		{"CARACAL_CA_FILE", s.rootsFile()},
	} {
		fmt.Fprintf(&b, "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	return m, replaceFile(s.environmentFile(), []byte(b.String()))
}

// rootsFile is where the certificates are that clients meet here: the upstream's CA and the inspection CA.
func (s *stack) rootsFile() string { return filepath.Join(s.state, "roots.pem") }

// proxyURL is the proxy with a mandate and a token that is bound to it.
func (s *stack) proxyURL(mandate authority.MandateID, token string) *url.URL {
	return &url.URL{Scheme: "http", Host: loopback(s.ProxyPort), User: url.UserPassword(string(mandate), token)}
}

// removeEnvironment takes away what no longer leads anywhere.
func (s *stack) removeEnvironment() {
	if err := os.Remove(s.environmentFile()); err != nil {
		s.say("%v", err)
	}
}

func (s *stack) upstreamURL() string {
	return "https://" + net.JoinHostPort(UpstreamHost, strconv.Itoa(s.UpstreamPort))
}

// introduce says where everything is and what to try.
func (s *stack) introduce(w *workspace, link string) {
	denial := w.lastDenial
	if denial == "" {
		denial = "<decision id>"
	}
	s.say(`
Everything works and stays up until Ctrl-C.

  control plane   %s
  gateway         %s%s
  its proxy port  %s
  echo upstream   %s  (a name that only the gateway can reach)
  logs            %s
  credentials     %s  (the gateway's; see docs/guide.md)

Sign in with a browser, once and within ten minutes (another link: bin/caracal session link):

  %s

In another terminal, in this directory:

  . .caracal/dev.env

  # a governed request
  curl -X POST $CARACAL_GATEWAY_URL/api/proxy -H "Authorization: Bearer $CARACAL_AGENT_JWT" \
    -H "X-Caracal-Mandate: $CARACAL_MANDATE_ID" -H "X-Caracal-Target-URL: $CARACAL_UPSTREAM_URL/v1/chat/completions" -d '{"model":"gpt-4"}'

  # a command whose traffic is governed, whatever it calls
  bin/caracal run -- curl $CARACAL_UPSTREAM_URL/v1/models

  # change the policy: in demo/policy.rego replace "embeddings" by "chat", push it, and send the same request again
  bin/caracal rego push demo/policy.rego --activate

  # what a decision was based on
  bin/caracal event show %s

  # a real host: a mandate for it, then the same call with another target
  bin/caracal mandate issue --issuer $CARACAL_ISSUER_ID --subject $CARACAL_AGENT_ID \
    --resource 'host:example.com:443/*' --action read --validity 1h
  curl $CARACAL_GATEWAY_URL/api/proxy -H "Authorization: Bearer $CARACAL_AGENT_JWT" \
    -H "X-Caracal-Mandate: <its mandate_id>" -H "X-Caracal-Target-URL: https://example.com/"
`, s.controlURL(), s.gatewayURL(), s.furtherGateways(), "http://"+loopback(s.ProxyPort), s.upstreamURL(), filepath.Join(s.state, "logs"), filepath.Join(s.state, "credentials"), link, denial)
}

// furtherGateways says where the others are, and what several are for.
func (s *stack) furtherGateways() string {
	var b strings.Builder
	for g := 2; g <= s.Gateways; g++ {
		fmt.Fprintf(&b, "  http://%s", loopback(s.gatewayPort(g)))
	}
	if s.Gateways > 1 {
		b.WriteString("\n                  demo/partition.sh cuts one of them off and revokes a mandate")
	}
	return b.String()
}
