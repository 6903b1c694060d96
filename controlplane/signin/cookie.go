package signin

import (
	"net/http"
	"time"
)

const (
	sessionCookie = "caracal-session"
	attemptCookie = "caracal-sign-in"
	// hostPrefix makes a browser refuse the cookie from anybody but this host over TLS.
	hostPrefix = "__Host-"
	// attemptAge is how long a sign-in at the provider may take; the service ends it by its own clock.
	attemptAge = 10 * time.Minute
	// maxCookie bounds what is read of a cookie, in bytes.
	maxCookie = 4096
)

// cookies writes and reads the cookies of a deployment. Without TLS, which is for loopback only, they go by plain names.
type cookies struct {
	secure bool
}

func (c cookies) named(name string) string {
	if c.secure {
		return hostPrefix + name
	}
	return name
}

// read is the value of the one cookie of a name. Two of them are none: somebody else has set one.
func (c cookies) read(r *http.Request, name string) string {
	found := r.CookiesNamed(c.named(name))
	if len(found) != 1 || len(found[0].Value) > maxCookie {
		return ""
	}
	return found[0].Value
}

func (c cookies) session(r *http.Request) string { return c.read(r, sessionCookie) }

// set gives the browser a cookie until the given age; 0 means for as long as it runs, below 0 takes it away.
func (c cookies) set(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: c.named(name), Value: value, Path: "/", MaxAge: int(age / time.Second),
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func (c cookies) remove(w http.ResponseWriter, name string) { c.set(w, name, "", -time.Second) }
