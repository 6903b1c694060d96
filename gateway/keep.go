package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/lease"
)

// maxLeaseFile is more than a kept lease takes, in bytes.
const maxLeaseFile = 4 << 10

// leaseContext begins what the process's key signs of a lease.
const leaseContext = "caracal-lease\x00"

// keptLease is a lease as the next process on this host finds it. It is worth something to that process only: the boot
// clock begins anew with each start of the host.
type keptLease struct {
	Boot     string        `json:"boot"`
	Gateway  string        `json:"gateway_id"`
	Timeline string        `json:"timeline"`
	Revision uint64        `json:"revision"` // that was enforced when it was granted
	Number   uint64        `json:"lease"`
	KeptBoot time.Duration `json:"kept_boot"` // in nanoseconds, like every duration here
	KeptWall time.Time     `json:"kept_wall"`
	EndBoot  time.Duration `json:"end_boot"`
	EndWall  time.Time     `json:"end_wall"`
}

func (k keptLease) lease() lease.Lease {
	return lease.Lease{Number: k.Number, End: lease.Reading{Boot: k.EndBoot, Wall: k.EndWall}}
}

// leaseFile keeps one lease. The signature is by the process's own key: a file that was damaged, or that came here from
// another gateway's directory, gives no lease.
type leaseFile struct {
	path    string
	private ed25519.PrivateKey
}

type signedLease struct {
	Lease     json.RawMessage `json:"lease"`
	Signature []byte          `json:"signature"`
}

// write replaces the file. It is not synced to the disk: a host that loses what it has not written yet has started anew,
// and a lease from before its start counts for nothing.
func (f leaseFile) write(k keptLease) error {
	content, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	text, err := json.Marshal(signedLease{content, ed25519.Sign(f.private, append([]byte(leaseContext), content...))})
	if err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	next := f.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	if err := os.Rename(next, f.path); err != nil {
		return fmt.Errorf("keep lease: %w", err)
	}
	return nil
}

// read gives what write kept. It is fs.ErrNotExist when there is none.
func (f leaseFile) read() (keptLease, error) {
	text, err := readSmall(f.path, maxLeaseFile)
	if err != nil {
		return keptLease{}, fmt.Errorf("read kept lease: %w", err)
	}
	return f.open(text)
}

// open verifies and decodes the content of the file.
func (f leaseFile) open(text []byte) (keptLease, error) {
	var signed signedLease
	if err := json.Unmarshal(text, &signed); err != nil {
		return keptLease{}, fmt.Errorf("read kept lease: %w", err)
	}
	public, _ := f.private.Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, append([]byte(leaseContext), signed.Lease...), signed.Signature) {
		return keptLease{}, errors.New("read kept lease: it is not signed by this gateway's own key")
	}
	var k keptLease
	decoder := json.NewDecoder(bytes.NewReader(signed.Lease))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&k); err != nil {
		return keptLease{}, fmt.Errorf("read kept lease: %w", err)
	}
	return k, nil
}

// remove ends what the file promises the next process.
func (f leaseFile) remove() error {
	if err := removeForGood(f.path); err != nil {
		return fmt.Errorf("remove kept lease: %w", err)
	}
	return nil
}

// removeForGood removes a file, if there is one. It does not come back where the disk is mounted anew.
func removeForGood(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// present is what a process that resumes holds a kept lease against.
type present struct {
	boot     string
	now      lease.Reading
	timeline string // of the bundle that is enforced
	revision uint64
}

// resume gives the lease to go on under, or says why there is none. Which gateway it was granted to is known by the
// signature, and compared once the process has enrolled.
func (k keptLease) resume(p present) (lease.Lease, error) {
	kept := lease.Kept{
		BootID: k.Boot, Gateway: k.Gateway, State: lease.Position{Timeline: k.Timeline, Revision: k.Revision},
		Sent: lease.Reading{Boot: k.KeptBoot, Wall: k.KeptWall}, Lease: k.lease(),
	}
	covered, ok := kept.Resume(p.boot, k.Gateway, lease.Position{Timeline: p.timeline, Revision: p.revision}, p.now)
	if !ok || p.revision == 0 || k.EndBoot-k.KeptBoot > lease.MaxTerm {
		return lease.Lease{}, k.unfit(p)
	}
	return covered, nil
}

// unfit says why the lease is not resumed.
func (k keptLease) unfit(p present) error {
	switch {
	case k.Boot == "" || k.Boot != p.boot:
		return errors.New("the host has started anew since the lease was kept")
	case p.revision == 0 || k.Timeline != p.timeline:
		return errors.New("no bundle of the timeline that the lease was granted on is enforced")
	case p.revision < k.Revision:
		return fmt.Errorf("the bundle is at revision %d, and the lease was granted at %d", p.revision, k.Revision)
	case !k.lease().Holds(p.now):
		return errors.New("the lease has ended")
	}
	return errors.New("the lease does not fit the host's clocks")
}

// bootID names the time since this host started, as far as its boot clock counts it: a container may be given a clock of
// its own.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the host's boot id: %w", err)
	}
	clock, err := os.Readlink("/proc/self/ns/time")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // kernels before 5.6 have one clock for all
		return "", fmt.Errorf("read which boot clock the process has: %w", err)
	}
	return strings.TrimSpace(strings.TrimSpace(string(id)) + " " + clock), nil
}
