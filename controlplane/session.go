package controlplane

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

const (
	// DefaultSessionIdle is how long a session lasts that nobody uses.
	DefaultSessionIdle = 30 * time.Minute
	// DefaultSessionLifetime is how long a session lasts at most.
	DefaultSessionLifetime = 12 * time.Hour
	// sessionSeenEvery is how precisely the use of a session is noted.
	sessionSeenEvery = time.Minute
	// bearerPrefix begins the secret of a session of the command line.
	bearerPrefix = "cs_"
	// maxUserAgent is how much is kept of what a browser says of itself, in bytes.
	maxUserAgent = 200
)

// SignIn is how people sign in to a deployment.
type SignIn struct {
	// PublicURL is where browsers reach the control plane, without a path or a slash at its end; empty means that nobody
	// signs in.
	PublicURL string
	// Issuer is the OpenID provider; empty means that people sign in by one-time links only.
	Issuer string
	// Idle and Lifetime bound a session that is not used, and every session; 0 means the defaults.
	Idle, Lifetime time.Duration
}

// SignInWay is how people can sign in.
type SignInWay string

// The ways to sign in.
const (
	SignInProvider SignInWay = "provider" // at the OpenID provider, and by one-time links
	SignInLinks    SignInWay = "links"    // by one-time links only
	SignInNone     SignInWay = "none"
)

// SignInWay says how people sign in to this deployment.
func (s *Service) SignInWay() SignInWay {
	switch {
	case s.signIn.PublicURL == "":
		return SignInNone
	case s.signIn.Issuer == "":
		return SignInLinks
	}
	return SignInProvider
}

// Visitor is what is known of who asks for a session.
type Visitor struct {
	UserAgent string
	Address   netip.Addr
}

// OpenedSession is a new session with its secret, told this once.
type OpenedSession struct {
	authority.Session
	Secret string
}

// newSecret makes 256 random bits as text.
func newSecret() string {
	var bits [32]byte
	rand.Read(bits[:])
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

func hashOf(secret string) []byte {
	digest := sha256.Sum256([]byte(secret))
	return digest[:]
}

// openSession opens a session for a person, or for the holder of a key. One that says when it ends ends then at the latest.
func (s *Service) openSession(ctx context.Context, n authority.Session, v Visitor) (OpenedSession, error) {
	n.ID = authority.NewID[authority.SessionID]()
	n.CreatedAt = s.now()
	n.LastSeenAt = n.CreatedAt
	if ends := n.CreatedAt.Add(s.signIn.Lifetime); n.ExpiresAt.IsZero() || ends.Before(n.ExpiresAt) {
		n.ExpiresAt = ends
	}
	n.UserAgent = printable(v.UserAgent, maxUserAgent)
	if v.Address.IsValid() {
		n.Address = v.Address.Unmap().WithZone("").String()
	}
	opened := OpenedSession{Session: n, Secret: newSecret()}
	if n.Kind == authority.SessionCLI {
		opened.Secret = bearerPrefix + opened.Secret
	}
	return opened, s.tell(ctx, s.store.OpenSession(ctx, n, hashOf(opened.Secret)))
}

// printable is text that somebody else wrote, short and without control characters.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unprintable(r) || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}

// AuthenticateSession identifies the bearer of a session's secret, which came the way that sessions of the kind do.
// Whatever is wrong with it, the answer is the same unauthenticated error; unavailable means that it was not judged.
//
// The caller is the holder of the key whose link opened the session, within the key's terms. Else it is the person: in
// the workspace of the only membership, or nowhere until it enters one of several.
func (s *Service) AuthenticateSession(ctx context.Context, secret string, kind authority.SessionKind, from netip.Addr) (Caller, error) {
	session, err := s.liveSession(ctx, secret, kind)
	if err != nil {
		return Caller{}, err
	}
	c := Caller{kind: authority.KeyMember, person: session.PersonID, address: from, session: session.ID}
	if session.KeyID != "" {
		return s.holderOf(ctx, c, session.KeyID)
	}
	all, err := s.store.LookUpMemberships(ctx, session.PersonID)
	if err != nil {
		return Caller{}, s.tell(ctx, err)
	}
	if len(all) != 1 {
		return c, nil
	}
	there, err := s.move(ctx, c, all[0])
	var told *authority.Error
	if errors.As(err, &told) && told.Code == authority.CodeNotFound {
		return c, nil // the workspace is closed to the member, which is somebody all the same
	}
	return there, err
}

// holderOf makes a session the caller that its key would be.
func (s *Service) holderOf(ctx context.Context, c Caller, key authority.KeyID) (Caller, error) {
	proof, err := s.store.LookUpKey(ctx, key)
	if errors.Is(err, postgres.ErrNotFound) {
		return Caller{}, errUnauthenticated
	}
	if err != nil {
		return Caller{}, s.tell(ctx, err)
	}
	if proof.Kind != authority.KeyMember || proof.PersonID != c.person || !stands(proof, c.address, s.now()) {
		return Caller{}, errUnauthenticated
	}
	c.key, c.workspace, c.home = key, proof.WorkspaceID, proof.WorkspaceID
	c.limit, c.elsewhere = proof.Role, proof.Workspaces
	c, err = s.withPrincipal(ctx, c, proof.PrincipalID)
	return c, s.tell(ctx, err)
}

// liveSession finds a session by its secret and notes that it is in use.
func (s *Service) liveSession(ctx context.Context, secret string, kind authority.SessionKind) (authority.Session, error) {
	session, err := s.store.LookUpSession(ctx, hashOf(secret))
	if errors.Is(err, postgres.ErrNotFound) {
		return session, errUnauthenticated
	}
	if err != nil {
		return session, s.tell(ctx, err)
	}
	now := s.now()
	if session.Kind != kind || !s.lives(session, now) {
		return session, errUnauthenticated
	}
	if now.Sub(session.LastSeenAt) >= sessionSeenEvery {
		// A use that cannot be noted ends the session earlier and nothing else.
		if err := s.store.SeeSession(ctx, session.ID, now); err != nil {
			s.log.Debug("use of session not noted", "cause", err)
		}
	}
	session.Current = true
	return session, nil
}

func (s *Service) lives(n authority.Session, now time.Time) bool {
	return now.Before(n.ExpiresAt) && now.Before(n.LastSeenAt.Add(s.signIn.Idle))
}

// CSRFToken proves that a request was made by a page that could read an answer to the session's browser.
func (s *Service) CSRFToken(secret string) string {
	mac := hmac.New(sha256.New, s.csrfKey)
	mac.Write([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// IsCSRFToken reports in constant time whether a token is the session's.
func (s *Service) IsCSRFToken(secret, token string) bool {
	return hmac.Equal([]byte(s.CSRFToken(secret)), []byte(token))
}

// Identification is who the caller is.
type Identification struct {
	Kind authority.KeyKind `json:"kind"`
	// PersonID, the session and the memberships are a member's. A key has no session.
	PersonID    authority.PersonID    `json:"person_id,omitempty"`
	KeyID       authority.KeyID       `json:"key_id,omitempty"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	Name        string                `json:"name"`
	Email       string                `json:"email,omitempty"` // as the OpenID provider told it, proven or not
	Memberships []Membership          `json:"memberships"`
	Session     *authority.Session    `json:"session"`
	// CSRFToken is to be sent as X-CSRF-Token with every change that a browser makes; empty where no cookie identifies.
	CSRFToken string `json:"csrf_token,omitempty"`
}

// Membership is a workspace that the caller may enter, and as whom.
type Membership struct {
	WorkspaceID   authority.WorkspaceID `json:"workspace_id"`
	WorkspaceSlug string                `json:"workspace_slug"`
	PrincipalID   authority.PrincipalID `json:"principal_id"`
	Role          authority.Role        `json:"role"`
}

// Identify tells the caller who it is.
func (s *Service) Identify(ctx context.Context, c Caller) (Identification, error) {
	id := Identification{
		Kind: c.kind, PersonID: c.person, KeyID: c.key, PrincipalID: c.principal.ID, Name: c.principal.Name, Memberships: []Membership{},
	}
	if err := s.permit(ctx, c, allowed("get_session")); err != nil {
		return Identification{}, err
	}
	if c.kind != authority.KeyMember {
		return id, nil
	}
	all, err := s.enterable(ctx, c)
	if err != nil {
		return Identification{}, err
	}
	for _, m := range all {
		id.Memberships = append(id.Memberships, Membership{m.WorkspaceID, m.Slug, m.PrincipalID, m.Role.Within(c.limit)})
	}
	if c.session == "" {
		return id, nil
	}
	sessions, err := s.liveSessions(ctx, c.person, c.session)
	if err != nil {
		return Identification{}, err
	}
	if i := slices.IndexFunc(sessions, func(n authority.Session) bool { return n.Current }); i >= 0 {
		id.Session = &sessions[i]
	}
	if c.key != "" {
		return id, nil
	}
	logins, err := s.store.LookUpLogins(ctx, c.person)
	if err != nil {
		return Identification{}, s.tell(ctx, err)
	}
	for _, login := range logins {
		id.Name, id.Email = login.Name, login.Email
	}
	return id, nil
}

func (s *Service) liveSessions(ctx context.Context, person authority.PersonID, current authority.SessionID) ([]authority.Session, error) {
	all, err := s.store.LookUpSessions(ctx, person)
	if err != nil {
		return nil, s.tell(ctx, err)
	}
	now := s.now()
	all = slices.DeleteFunc(all, func(n authority.Session) bool { return !s.lives(n, now) })
	for i := range all {
		all[i].Current = all[i].ID == current
	}
	return all, nil
}

// Sessions lists the caller's own sessions, the newest first.
func (s *Service) Sessions(ctx context.Context, c Caller) ([]authority.Session, error) {
	if err := s.mayManageSessions(ctx, c, "list_sessions"); err != nil {
		return nil, err
	}
	all, err := s.liveSessions(ctx, c.person, c.session)
	if c.key != "" {
		all = slices.DeleteFunc(all, func(n authority.Session) bool { return n.KeyID != c.key })
	}
	return all, err
}

// mayManageSessions is for people, by whatever session or key they come. What comes by a key sees and ends no other
// sessions than those that the key opened.
func (s *Service) mayManageSessions(ctx context.Context, c Caller, operation string) error {
	if err := s.permit(ctx, c, allowed(operation)); err != nil {
		return err
	}
	if c.kind != authority.KeyMember || c.person == "" {
		return authority.Forbidden("only people have sessions")
	}
	return nil
}

// EndSession ends one of the caller's sessions.
func (s *Service) EndSession(ctx context.Context, c Caller, id authority.SessionID) error {
	all, err := s.Sessions(ctx, c)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(n authority.Session) bool { return n.ID == id }) {
		return authority.NotFound("session")
	}
	_, err = s.store.EndSession(ctx, c.person, id)
	return s.tell(ctx, err)
}

// EndSessions ends every session of the caller, its own included.
func (s *Service) EndSessions(ctx context.Context, c Caller) error {
	if c.key == "" {
		if err := s.mayManageSessions(ctx, c, "end_sessions"); err != nil {
			return err
		}
		_, err := s.store.EndSession(ctx, c.person, "")
		return s.tell(ctx, err)
	}
	all, err := s.Sessions(ctx, c)
	for _, session := range all {
		if err == nil {
			_, err = s.store.EndSession(ctx, c.person, session.ID)
		}
	}
	return s.tell(ctx, err)
}

// SignOut ends the caller's session.
func (s *Service) SignOut(ctx context.Context, c Caller) error {
	if err := s.mayManageSessions(ctx, c, "end_session"); err != nil {
		return err
	}
	if c.session == "" {
		return authority.Invalid("", "an API key has no session to end")
	}
	_, err := s.store.EndSession(ctx, c.person, c.session)
	return s.tell(ctx, err)
}

// EndMemberSessions ends every session of a member, in whatever workspace it acts.
func (s *Service) EndMemberSessions(ctx context.Context, c Caller, id authority.PrincipalID) (Written[EndedSessions], error) {
	op := allowed("end_member_sessions").quietly()
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (EndedSessions, error) {
		member, err := tx.Member(ctx, id)
		if err != nil {
			return EndedSessions{}, orNotFound("member", err)
		}
		if err := ch.caller.principal.Role.MayChange(member.Role); err != nil {
			return EndedSessions{}, err
		}
		ended, err := tx.EndSession(ctx, member.PersonID, "")
		ch.tell(authority.Event{Type: authority.EventSessionsEnded, PrincipalID: id, Detail: map[string]any{"sessions": ended}})
		return EndedSessions{ended}, err
	})
}

// EndedSessions says how many sessions were ended.
type EndedSessions struct {
	Ended int64 `json:"ended"`
}
