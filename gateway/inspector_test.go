package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

// certifier is a control plane that certifies, or fails.
type certifier struct {
	t     *testing.T
	root  inspection.Authority
	err   error
	asked int
}

func newCertifier(t *testing.T, workspace string) *certifier {
	t.Helper()
	root, err := inspection.NewAuthority("test", workspace, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &certifier{t: t, root: root}
}

func (c *certifier) certify(_ context.Context, request []byte) (*syncpb.CertifyResponse, error) {
	c.asked++
	if c.err != nil {
		return nil, c.err
	}
	made, err := c.root.Certify(request, "gtw_test", time.Now())
	if err != nil {
		c.t.Error(err)
		return nil, err
	}
	return &syncpb.CertifyResponse{Certificate: made.Raw, Root: c.root.Certificate()}, nil
}

func (c *certifier) inspector(dir string) *inspector {
	i := newInspector(dir, time.Now, c.certify, slog.New(slog.DiscardHandler))
	i.load()
	return i
}

// running runs an inspector until the test ends it.
func running(i *inspector) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = i.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func TestAGatewayIsCertifiedAnewAfterTwoThirdsOfItsCertificatesLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCertifier(t, "ws_test")
		i := c.inspector(t.TempDir())
		defer running(i)()
		synctest.Wait()
		first := i.issuer
		if c.asked != 1 || i.Unavailable() != "" {
			t.Fatalf("asked %d times: %q", c.asked, i.Unavailable())
		}
		elapse(inspection.IntermediateLifetime/3*2 - time.Hour)
		synctest.Wait()
		if c.asked != 1 {
			t.Error("it asks too early")
		}
		elapse(2 * time.Hour)
		synctest.Wait()
		if c.asked != 2 || i.issuer == first {
			t.Errorf("asked %d times", c.asked)
		}
	})
}

func TestAGatewayGoesOnWithItsCertificateWhileNobodyCertifiesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCertifier(t, "ws_test")
		dir := t.TempDir()
		stop := running(c.inspector(dir))
		synctest.Wait()
		stop()
		c.err = errors.New("the control plane is away")
		next := c.inspector(dir)
		defer running(next)()
		synctest.Wait()
		if _, err := next.Issue("api.test"); err != nil || next.Unavailable() != "" {
			t.Errorf("after a restart: %v, %q", err, next.Unavailable())
		}
		elapse(inspection.IntermediateLifetime + time.Hour)
		synctest.Wait()
		if _, err := next.Issue("api.test"); !errors.Is(err, inspection.ErrOver) {
			t.Errorf("after its end: %v", err)
		}
		if why := next.Unavailable(); !strings.Contains(why, "has ended") || !strings.Contains(why, "away") {
			t.Errorf("it says %q", why)
		}
		if c.asked > 3000 {
			t.Errorf("it asked %d times within a day", c.asked)
		}
		c.err = nil
		next.wake()
		elapse(certifyPauseMax)
		synctest.Wait()
		if why := next.Unavailable(); why != "" {
			t.Errorf("when it is back: %q", why)
		}
	})
}

func TestAnOlderControlPlaneIsNamedAsTheCause(t *testing.T) {
	c := newCertifier(t, "ws_test")
	c.err = status.Error(codes.Unimplemented, "unknown method Certify")
	i := c.inspector(t.TempDir())
	i.failed(i.renew(t.Context()))
	if why := i.Unavailable(); why != "the control plane does not certify gateways for inspection: upgrade it" {
		t.Errorf("it says %q", why)
	}
	if _, err := i.Issue("api.test"); !errors.Is(err, errNotCertified) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsKeptIsTheGatewaysOwnUsersAndOfItsWorkspace(t *testing.T) {
	c := newCertifier(t, "ws_test")
	dir := t.TempDir()
	i := c.inspector(dir)
	if err := i.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "inspection.pem")
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("it is kept as %v (%v)", stat.Mode(), err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if next := c.inspector(dir); next.Unavailable() != "" {
		t.Errorf("the next process: %s", next.Unavailable())
	}
	moved := c.inspector(dir)
	moved.belongs("ws_other")
	if moved.Unavailable() == "" {
		t.Error("another workspace's certificate is used")
	}
	if err := moved.renew(t.Context()); !errors.Is(err, inspection.ErrChain) {
		t.Errorf("a certificate under another workspace's root: %v", err)
	}
	for sentence, text := range map[string][]byte{"half of it": kept[:len(kept)/2], "nothing": nil, "too much": bytes.Repeat([]byte("x"), maxInspectionFile+1)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if c.inspector(dir).Unavailable() == "" {
			t.Errorf("%s is used", sentence)
		}
	}
}
