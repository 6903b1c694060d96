package api_test

import (
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/internal/schemathesis"
)

// Requests that are made of the document, valid and invalid ones, find no answer that is not in it, whoever asks.
func TestNoMadeUpRequestIsAnsweredOtherwiseThanDocumented(t *testing.T) {
	w := newWorld(t)
	m := w.newTeam(t, "my-team")
	m.possessions()
	handler, err := api.New(api.Config{Service: w.service, Log: w.logger(), RequestsPerSecond: api.MaxRequestsPerSecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	lasting := 8 * time.Second
	if os.Getenv("CARACAL_DEEP") != "" {
		lasting = 90 * time.Second
	}
	for sentence, c := range map[string]struct {
		key   string
		share time.Duration
	}{
		"as the owner":         {m.ownerKey, 3 * lasting},
		"as an agent":          {m.agentKey, lasting},
		"as a gateway":         {m.gatewayKey, lasting},
		"with the setup key":   {setupKey, lasting},
		"without a credential": {"nobody", lasting},
	} {
		t.Run(sentence, func(t *testing.T) {
			schemathesis.Run(t, server.URL+"/api/v1/openapi.json", c.key, c.share, 1,
				"--exclude-operation-id", "streamEvents", "--exclude-operation-id", "streamEventsInWorkspace")
		})
	}
	if text := w.log.String(); text != "" {
		t.Errorf("the log has %s", text)
	}
}
