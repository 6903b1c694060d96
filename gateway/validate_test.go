package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAValidationIsForTheGatewaysOwnWorkspaceAndABearer(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	token := r.world.Token(r.world.Agent.ID)
	for sentence, c := range map[string]struct {
		path, authorization string
		status              int
	}{
		"without naming a workspace":         {"/api/v1/mandates/validate", "Bearer " + token, http.StatusOK},
		"in its own workspace":               {"/api/v1/workspaces/my-team/mandates/validate", "Bearer " + token, http.StatusOK},
		"in another workspace":               {"/api/v1/workspaces/other-team/mandates/validate", "Bearer " + token, http.StatusNotFound},
		"with the scheme in small letters":   {"/api/v1/mandates/validate", "bearer " + token, http.StatusOK},
		"with a credential of no scheme":     {"/api/v1/mandates/validate", token, http.StatusUnauthorized},
		"with a credential of another one":   {"/api/v1/mandates/validate", "Basic " + token, http.StatusUnauthorized},
		"in another workspace, as a nobody":  {"/api/v1/workspaces/other-team/mandates/validate", "Bearer x", http.StatusUnauthorized},
		"in what can be no name of any":      {"/api/v1/workspaces/My_Team/mandates/validate", "Bearer " + token, http.StatusNotFound},
		"in a path that is not its shortest": {"/api/v1/workspaces/other-team/../my-team/mandates/validate", "Bearer " + token, http.StatusNotFound},
	} {
		t.Run(sentence, func(t *testing.T) {
			body := fmt.Sprintf(`{"mandate_id":%q,"requested_action":"read","requested_resource":"api:model"}`, r.world.Mandate.ID)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.listen.String()+c.path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", c.authorization)
			got, err := r.send(request)
			if err != nil || got.status != c.status {
				t.Errorf("answered %d %s (%v), want %d", got.status, got.body, err, c.status)
			}
		})
	}
}
