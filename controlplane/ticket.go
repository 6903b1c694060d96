package controlplane

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

// What tickets are for, and how long they are good.
const (
	ticketLink       = "link"
	ticketInvitation = "invitation"
	ticketCode       = "code"
	ticketAttempt    = "attempt"

	linkLifetime       = 10 * time.Minute
	invitationLifetime = 7 * 24 * time.Hour
	codeLifetime       = time.Minute
	attemptLifetime    = 10 * time.Minute
)

// purposeAttempt separates sign-ins that are under way from private keys in the vault.
const purposeAttempt token.Purpose = "sign-in"

var errTicket = &authority.Error{Code: authority.CodeUnauthenticated, Message: "the link or code is wrong, was used already or has expired; ask for another"}

// SignInAttempt is a sign-in at the OpenID provider that is under way. The browser keeps it, sealed.
type SignInAttempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
	// Next is where the browser goes afterwards.
	Next string `json:"next"`
	// Invitation is the secret of an invitation that is to be accepted; empty without one.
	Invitation string    `json:"invitation"`
	BeganAt    time.Time `json:"began_at"`
}

// BeginSignIn begins a sign-in and seals it for the browser.
func (s *Service) BeginSignIn(next, invitation string) (SignInAttempt, string, error) {
	a := SignInAttempt{
		State: newSecret(), Nonce: newSecret(), Verifier: newSecret(), Next: next, Invitation: invitation, BeganAt: s.now(),
	}
	text, err := json.Marshal(a)
	if err != nil {
		return a, "", fmt.Errorf("seal sign-in: %w", err)
	}
	return a, base64.RawURLEncoding.EncodeToString(s.vault.Seal("", purposeAttempt, text)), nil
}

// ResumeSignIn opens what the browser kept, for the answer with this state. An attempt is resumed once: the provider's
// answer does not work a second time, whoever brings it.
func (s *Service) ResumeSignIn(ctx context.Context, sealed, state string) (SignInAttempt, error) {
	var a SignInAttempt
	cipher, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return a, errTicket
	}
	text, err := s.vault.Open("", purposeAttempt, cipher)
	if err != nil || json.Unmarshal(text, &a) != nil {
		return SignInAttempt{}, errTicket
	}
	now := s.now()
	if now.Before(a.BeganAt) || !now.Before(a.BeganAt.Add(attemptLifetime)) || subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) != 1 {
		return SignInAttempt{}, errTicket
	}
	err = s.store.KeepTicket(ctx, postgres.Ticket{
		Hash: hashOf(a.State), Purpose: ticketAttempt, Content: struct{}{}, ExpiresAt: a.BeganAt.Add(attemptLifetime),
	})
	if errors.Is(err, postgres.ErrDuplicate) {
		return SignInAttempt{}, errTicket
	}
	return a, s.tell(ctx, err)
}

// link is what a one-time link opens a session for: the holder of a key, within its terms.
type link struct {
	KeyID    authority.KeyID    `json:"key_id"`
	PersonID authority.PersonID `json:"person_id"`
}

// SignInLink is a link that signs its bearer in once.
type SignInLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// CreateSignInLink makes a link that opens a session in a browser, once and within ten minutes, for the member whose key
// asks. The session may do what the key may, from where the key may be used, and ends with it. A newer link of the same
// key ends this one.
func (s *Service) CreateSignInLink(ctx context.Context, c Caller) (SignInLink, error) {
	op := allowed("create_sign_in_link").quietly()
	secret := newSecret()
	// The link is no answer that is kept for a repetition: it is a secret that works for ten minutes.
	made, err := write(ctx, s, c.Once("", nil), op, func(ctx context.Context, tx *postgres.Tx, ch *change) (SignInLink, error) {
		if c.key == "" || c.session != "" {
			return SignInLink{}, authority.Forbidden("a link is made with a member's API key")
		}
		if s.signIn.PublicURL == "" {
			return SignInLink{}, errNoSignIn
		}
		made := SignInLink{URL: s.signIn.PublicURL + "/login/link#" + secret, ExpiresAt: ch.at.Add(linkLifetime)}
		ch.tell(authority.Event{Type: authority.EventSignInLinkCreated, PrincipalID: c.principal.ID, Detail: map[string]any{"expires_at": made.ExpiresAt}})
		return made, tx.KeepTicket(ctx, postgres.Ticket{
			Hash: hashOf(secret), Purpose: ticketLink, About: string(c.key), Content: link{c.key, c.person}, ExpiresAt: made.ExpiresAt,
		})
	})
	return made.Value, err
}

var errNoSignIn = &authority.Error{
	Code: authority.CodeConflict, Message: "nobody can sign in here: the control plane runs without the setting public-url",
}

// SignInByLink uses a one-time link up and opens a session in a browser.
func (s *Service) SignInByLink(ctx context.Context, secret string, v Visitor) (OpenedSession, error) {
	var l link
	err := s.store.TakeTicket(ctx, hashOf(secret), ticketLink, s.now(), &l)
	if errors.Is(err, postgres.ErrNotFound) {
		return OpenedSession{}, errTicket
	}
	if err != nil {
		return OpenedSession{}, s.tell(ctx, err)
	}
	c, err := s.holderOf(ctx, Caller{kind: authority.KeyMember, person: l.PersonID, address: v.Address}, l.KeyID)
	if err != nil {
		return OpenedSession{}, err
	}
	if err := c.active(); err != nil {
		return OpenedSession{}, err
	}
	opened, err := s.openSession(ctx, authority.Session{Kind: authority.SessionBrowser, PersonID: l.PersonID, KeyID: l.KeyID}, v)
	if err != nil {
		return OpenedSession{}, err
	}
	return opened, s.tellSignedIn(ctx, []postgres.Membership{{WorkspaceID: c.workspace, PrincipalID: c.principal.ID}}, opened)
}

// code is what the command line exchanges for a session of its own.
type code struct {
	Challenge string              `json:"challenge"` // S256 of the command line's secret
	SessionID authority.SessionID `json:"session_id"`
	PersonID  authority.PersonID  `json:"person_id"`
	KeyID     authority.KeyID     `json:"key_id"`
	Issuer    string              `json:"issuer"`
	ExpiresAt time.Time           `json:"expires_at"`
}

// GrantCLI lets the command line that made the challenge have a session like this one of a browser, which ends when this
// one would at the latest. The code works once, within a minute.
func (s *Service) GrantCLI(ctx context.Context, secret, challenge string) (string, error) {
	session, err := s.liveSession(ctx, secret, authority.SessionBrowser)
	if err != nil {
		return "", err
	}
	if sum, err := base64.RawURLEncoding.DecodeString(challenge); err != nil || len(sum) != sha256.Size {
		return "", authority.Invalid("challenge", "is the SHA-256 of the verifier in base64url without padding")
	}
	granted := newSecret()
	err = s.store.KeepTicket(ctx, postgres.Ticket{
		Hash: hashOf(granted), Purpose: ticketCode, ExpiresAt: s.now().Add(codeLifetime),
		Content: code{challenge, session.ID, session.PersonID, session.KeyID, session.Issuer, session.ExpiresAt},
	})
	return granted, s.tell(ctx, err)
}

// ExchangeCode gives the command line a session for a code and the secret that its challenge was made of. The code is used
// up even if the secret is wrong, and is worth nothing once the browser's session has ended.
func (s *Service) ExchangeCode(ctx context.Context, granted, verifier string, v Visitor) (OpenedSession, error) {
	var k code
	err := s.store.TakeTicket(ctx, hashOf(granted), ticketCode, s.now(), &k)
	if errors.Is(err, postgres.ErrNotFound) {
		return OpenedSession{}, errTicket
	}
	if err != nil {
		return OpenedSession{}, s.tell(ctx, err)
	}
	challenge := base64.RawURLEncoding.EncodeToString(hashOf(verifier))
	if subtle.ConstantTimeCompare([]byte(challenge), []byte(k.Challenge)) != 1 {
		return OpenedSession{}, errTicket
	}
	lives, err := s.hasSession(ctx, k.PersonID, k.SessionID)
	if err != nil {
		return OpenedSession{}, err
	}
	if !lives {
		return OpenedSession{}, errTicket
	}
	return s.openSession(ctx, authority.Session{
		Kind: authority.SessionCLI, PersonID: k.PersonID, KeyID: k.KeyID, Issuer: k.Issuer, ExpiresAt: k.ExpiresAt,
	}, v)
}

func (s *Service) hasSession(ctx context.Context, person authority.PersonID, id authority.SessionID) (bool, error) {
	all, err := s.liveSessions(ctx, person, id)
	for _, session := range all {
		if session.Current {
			return true, err
		}
	}
	return false, err
}
