package signin

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/caracal-gateway/caracal/authority"
)

// cliRequest is the command line's wish to act as the person in front of the browser.
type cliRequest struct {
	port      uint16
	challenge string
	state     string
}

var (
	challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	statePattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)
)

func readCLIRequest(q url.Values) (cliRequest, error) {
	port, err := strconv.ParseUint(q.Get("cli"), 10, 16)
	if err != nil || port < 1024 {
		return cliRequest{}, authority.Invalid("cli", "must be the port that the command line listens on")
	}
	ask := cliRequest{uint16(port), q.Get("challenge"), q.Get("state")}
	if !challengePattern.MatchString(ask.challenge) {
		return cliRequest{}, authority.Invalid("challenge", "must be the SHA-256 of the verifier in base64url")
	}
	if !statePattern.MatchString(ask.state) {
		return cliRequest{}, authority.Invalid("state", "must be 16 to 128 characters of base64url")
	}
	return ask, nil
}

func (ask cliRequest) query() string {
	return url.Values{"cli": {strconv.Itoa(int(ask.port))}, "challenge": {ask.challenge}, "state": {ask.state}}.Encode()
}

// back is where the command line waits for the answer: on the machine of the browser, and nowhere else.
func (ask cliRequest) back(answer url.Values) string {
	answer.Set("state", ask.state)
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ask.port))) + "/?" + answer.Encode()
}

// askForCLI asks the person whether the command line may act as them.
func (h *Handler) askForCLI(x *exchange) error {
	ask, err := readCLIRequest(x.r.URL.Query())
	if err != nil {
		return err
	}
	c, err := h.caller(x)
	if err != nil {
		return h.signInFirst(x, err)
	}
	id, err := h.service.Identify(x.r.Context(), c)
	if err != nil {
		return err
	}
	h.render(x, http.StatusOK, "cli", cliView{
		Name: id.Name, Port: ask.port, Challenge: ask.challenge, State: ask.state, CSRF: h.service.CSRFToken(h.cookies.session(x.r)),
	})
	return nil
}

// grantCLI answers the command line as the person decided.
func (h *Handler) grantCLI(x *exchange) error {
	ask, err := readCLIRequest(x.r.PostForm)
	if err != nil {
		return err
	}
	if _, err := h.decided(x); err != nil {
		return err
	}
	if x.r.PostFormValue("decision") != "allow" {
		h.onward(x, ask.back(url.Values{"error": {"access_denied"}}), "Back to the command line")
		return nil
	}
	code, err := h.service.GrantCLI(x.r.Context(), h.cookies.session(x.r), ask.challenge)
	if err != nil {
		return err
	}
	h.onward(x, ask.back(url.Values{"code": {code}}), "Back to the command line")
	return nil
}
