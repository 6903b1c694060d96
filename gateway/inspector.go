package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/inspection"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

const (
	// certifyLook is the longest that the inspector sleeps: timers stand still while the host is suspended.
	certifyLook = time.Minute
	// The pauses between tries to be certified, each twice the one before.
	certifyPauseMin = 500 * time.Millisecond
	certifyPauseMax = time.Minute
	// maxInspectionFile is more than the kept key and certificates take, in bytes.
	maxInspectionFile = 64 << 10
)

// errNotCertified is an inspector without a certificate that is good.
var errNotCertified = errors.New("the gateway has no inspection certificate")

// inspector holds the certificate under which this process makes those of the servers that its clients ask for, and asks
// for another in time. The private key is made here and is told nobody; each certificate has one of its own.
type inspector struct {
	path    string // of what is kept
	now     func() time.Time
	certify func(ctx context.Context, request []byte) (*syncpb.CertifyResponse, error)
	log     *slog.Logger
	woken   chan struct{} // holds a token when there may be an answer to be had

	mu        sync.Mutex
	workspace string             // that this process has enrolled in; empty until then
	issuer    *inspection.Issuer // nil where there is none
	fault     string             // why there is none newer, for people
}

func newInspector(directory string, now func() time.Time, certify func(context.Context, []byte) (*syncpb.CertifyResponse, error), log *slog.Logger) *inspector {
	return &inspector{
		path: filepath.Join(directory, "inspection.pem"), now: now, certify: certify, log: log,
		woken: make(chan struct{}, 1), fault: "not asked for yet",
	}
}

// load takes up what an earlier process on this host kept.
func (i *inspector) load() {
	text, err := readSmall(i.path, maxInspectionFile)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var kept *inspection.Issuer
	if err == nil {
		kept, err = inspection.ParseIssuer(text, i.now())
	}
	if err != nil {
		i.log.Warn("the kept inspection certificate is not used", "cause", err)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issuer, i.fault = kept, ""
}

// belongs says which workspace the process has enrolled in. A certificate of another is given up: no client here trusts it.
func (i *inspector) belongs(workspace string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.workspace = workspace
	if i.issuer != nil && i.issuer.Workspace() != workspace {
		i.log.Warn("the inspection certificate is of another workspace, and is not used")
		i.issuer, i.fault = nil, "not asked for yet"
	}
	i.wake()
}

// wake makes the inspector try now what it would try later.
func (i *inspector) wake() {
	select {
	case i.woken <- struct{}{}:
	default:
	}
}

// Run keeps the certificate good until ctx ends.
func (i *inspector) Run(ctx context.Context) error {
	pause := certifyPauseMin
	for {
		wait := i.due()
		if wait <= 0 {
			if err := i.renew(ctx); err != nil && ctx.Err() == nil {
				i.failed(err)
				wait = pause
				pause = min(2*pause, certifyPauseMax)
			} else {
				pause = certifyPauseMin
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-i.woken:
		case <-time.After(min(max(wait, 0), certifyLook)):
		}
	}
}

// due is how long it is until another certificate is to be asked for.
func (i *inspector) due() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.issuer == nil {
		return 0
	}
	return inspection.RenewAt(i.issuer.Intermediate()).Sub(i.now())
}

// renew has a key of its own certified, and keeps both. What cannot be kept is used all the same, by this process.
func (i *inspector) renew(ctx context.Context) error {
	request, err := inspection.NewRequest()
	if err != nil {
		return err
	}
	answer, err := i.certify(ctx, request.DER())
	if err != nil {
		return err
	}
	issuer, err := request.Accept(answer.GetCertificate(), answer.GetRoot(), i.now())
	if err != nil {
		return err
	}
	i.mu.Lock()
	if i.workspace != "" && issuer.Workspace() != i.workspace {
		i.mu.Unlock()
		return fmt.Errorf("%w: its root is another workspace's", inspection.ErrChain)
	}
	i.issuer, i.fault = issuer, ""
	i.mu.Unlock()
	i.log.Info("certified for inspection", "serial", issuer.Intermediate().SerialNumber.Text(16), "not_after", issuer.Intermediate().NotAfter)
	if err := i.keep(issuer); err != nil {
		i.log.Error("the inspection certificate is used but not kept", "cause", err)
	}
	return nil
}

func (i *inspector) keep(issuer *inspection.Issuer) error {
	text, err := issuer.Encode()
	if err != nil {
		return err
	}
	return writeForGood(i.path, text)
}

// failed notes why there is no newer certificate, and says it once for each cause.
func (i *inspector) failed(err error) {
	fault := plain(err)
	if status.Code(err) == codes.Unimplemented {
		fault = "the control plane does not certify gateways for inspection: upgrade it"
	}
	i.mu.Lock()
	again := i.fault == fault
	i.fault = fault
	i.mu.Unlock()
	if !again {
		i.log.Warn("not certified for inspection; it is tried again", "cause", fault)
	}
}

// Issue makes the certificate of a name.
func (i *inspector) Issue(name string) (inspection.Leaf, error) {
	i.mu.Lock()
	issuer := i.issuer
	i.mu.Unlock()
	if issuer == nil {
		return inspection.Leaf{}, errNotCertified
	}
	return issuer.Issue(name, i.now())
}

// Unavailable says why TLS cannot be seen inside at the moment; empty where it can.
func (i *inspector) Unavailable() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.issuer != nil && i.issuer.Holds(i.now()):
		return ""
	case i.issuer != nil:
		return "the inspection certificate has ended: " + i.fault
	}
	return i.fault
}

// Certify asks the control plane for the certificate that a request is for.
func (l *link) Certify(ctx context.Context, request []byte) (*syncpb.CertifyResponse, error) {
	id := l.id()
	if id == "" {
		return nil, errors.New("not enrolled yet")
	}
	ctx, cancel := context.WithTimeout(l.authorised(ctx), callTimeout)
	defer cancel()
	return l.client.Certify(ctx, &syncpb.CertifyRequest{
		GatewayId: id, Request: request, Proof: bundle.CertifyProof(l.private, authority.GatewayID(id), request),
	})
}
