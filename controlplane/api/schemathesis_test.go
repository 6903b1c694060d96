package api_test

import (
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caracal-gateway/caracal/controlplane/api"
	"github.com/caracal-gateway/caracal/internal/schemathesis"
)

// unmade are operations that are left out: a stream has no end, and a workspace that has one answers nothing more.
var unmade = []string{"streamEvents", "streamEventsInWorkspace", "archiveWorkspace", "deleteWorkspace"}

// madeUpCaller is somebody for whom requests are made for a time.
type madeUpCaller struct {
	name, key string
	lasting   time.Duration
}

// madeUpCallers are the owner, who can do most, and one caller each of a few kinds; of all roles and kinds when CARACAL_SCHEMATHESIS is deep.
func (m *team) madeUpCallers() []madeUpCaller {
	deep := os.Getenv("CARACAL_SCHEMATHESIS") == "deep"
	all := []madeUpCaller{{"nobody", "nobody", 5 * time.Second}}
	for _, a := range m.askers() {
		switch {
		case deep:
			all = append(all, madeUpCaller{a.name, a.key, time.Minute})
		case a.name == "owner":
			all = append(all, madeUpCaller{a.name, a.key, 24 * time.Second})
		case slices.Contains([]string{"viewer", "agent", "gateway", "setup"}, a.name):
			all = append(all, madeUpCaller{a.name, a.key, 6 * time.Second})
		}
	}
	return all
}

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
	for _, c := range m.madeUpCallers() {
		t.Run("as "+c.name, func(t *testing.T) {
			arguments := []string{}
			for _, id := range unmade {
				arguments = append(arguments, "--exclude-operation-id", id)
			}
			schemathesis.Run(t, server.URL+"/api/v1/openapi.json", c.key, c.lasting, 1, arguments...)
		})
	}
	if text := w.log.String(); text != "" {
		t.Errorf("the log has %s", text)
	}
}
