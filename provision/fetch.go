package provision

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	// maxDownload bounds what a mirror may make us write before the digest is
	// checked; the largest pinned file has 37 MB.
	maxDownload = 256 << 20
	// maxIndex bounds an index page.
	maxIndex = 16 << 20
	// stallLimit ends a download that receives nothing for so long.
	stallLimit = 30 * time.Second
)

// source is a place that files come from.
type source struct {
	url *url.URL
	// user holds the credentials of the source; they go to its own host only.
	user *url.Userinfo
	// setting tells a user how to choose another source.
	setting string
}

func parseSource(address, setting string) (source, error) {
	u, err := url.Parse(address)
	// The text of a parse error repeats the address, which may hold a password.
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return source{}, fmt.Errorf("the address to fetch from is not an http(s) URL; %s", setting)
	}
	user := u.User
	u.User = nil
	return source{url: u, user: user, setting: setting}, nil
}

// at returns the same source at another URL, without its credentials when the
// URL leaves its host or would send them in clear.
func (s source) at(u *url.URL) source {
	next := source{url: u, setting: s.setting}
	if u.Host == s.url.Host && u.Scheme == s.url.Scheme {
		next.user = s.user
	}
	return next
}

func httpClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: stallLimit,
			DisableKeepAlives:     true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("redirected from https to http")
			}
			if len(via) > 5 {
				return errors.New("redirected too often")
			}
			return nil
		},
	}
}

// get opens the source. The caller closes the body, whose reads fail when the
// other side stalls. An error names the host and the setting that changes it.
func (s source) get(ctx context.Context, accept string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, s.fault(err)
	}
	request.Header.Set("User-Agent", "caracal-provision")
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	if s.user != nil {
		password, _ := s.user.Password()
		request.SetBasicAuth(s.user.Username(), password)
	}
	response, err := httpClient().Do(request)
	if err != nil {
		cancel(nil)
		return nil, s.fault(err)
	}
	response.Body = watchStall(response.Body, cancel)
	if response.StatusCode != http.StatusOK {
		return nil, s.fault(errors.Join(fmt.Errorf("it answered %s", response.Status), response.Body.Close()))
	}
	return response, nil
}

func (s source) fault(err error) error {
	// *url.Error repeats the whole URL; the host is what the reader can act on.
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("fetch from %s: %w; %s", s.url.Host, err, s.setting)
}

// save writes the file at the source to path when its SHA-256 digest is the
// pinned one, and otherwise leaves nothing there. It returns the size in bytes.
func (s source) save(ctx context.Context, path, pin string) (size int64, err error) {
	response, err := s.get(ctx, "")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write download: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	defer file.Close()

	digest := sha256.New()
	size, err = io.Copy(io.MultiWriter(file, digest), io.LimitReader(response.Body, maxDownload))
	if err != nil {
		return 0, s.fault(err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != pin {
		return 0, s.fault(fmt.Errorf("%w: got %s, want %s", ErrDigest, got, pin))
	}
	if err := file.Close(); err != nil {
		return 0, fmt.Errorf("write download: %w", err)
	}
	return size, nil
}

// ErrDigest is returned when a fetched file is not the pinned one. Nothing of
// the file is kept or run.
var ErrDigest = errors.New("the file is not the pinned one (sha256 differs)")

type stallReader struct {
	body   io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func watchStall(body io.ReadCloser, cancel context.CancelCauseFunc) io.ReadCloser {
	stalled := fmt.Errorf("nothing received for %s", stallLimit)
	return &stallReader{body: body, cancel: cancel, timer: time.AfterFunc(stallLimit, func() { cancel(stalled) })}
}

func (r *stallReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.timer.Reset(stallLimit)
	return n, err
}

func (r *stallReader) Close() error {
	r.timer.Stop()
	r.cancel(nil)
	return r.body.Close()
}

func megabytes(size int64) string { return fmt.Sprintf("%.1f MB", float64(size)/1e6) }

func seconds(since time.Time) string { return fmt.Sprintf("%.1f s", time.Since(since).Seconds()) }
