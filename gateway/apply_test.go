package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/envoy"
	"github.com/caracal-gateway/caracal/extauthz"
	"github.com/caracal-gateway/caracal/internal/pki"
	"github.com/caracal-gateway/caracal/internal/syncpb"
	"github.com/caracal-gateway/caracal/internal/world"
)

// receiver is what a gateway process does with what the control plane sends, without the rest of the process.
type receiver struct {
	*applier
	t     *testing.T
	world *world.World
	index *bundle.Index
	dir   string
	roots []byte // that public upstreams must chain to
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	w := world.New(t, time.Now())
	r := &receiver{t: t, world: w, dir: t.TempDir(), roots: []byte(pki.New(t).PEM())}
	r.route()
	r.index = w.Index()
	r.restart()
	return r
}

// route makes Envoy's configuration follow the catalog.
func (r *receiver) route() {
	r.t.Helper()
	var err error
	if r.world.State.Envoy, err = bundle.EnvoyConfiguration(r.world.State.Destinations); err != nil {
		r.t.Fatal(err)
	}
}

// restart is another process in the same directory.
func (r *receiver) restart() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	local := envoy.Local{
		NodeID: "test", AuthzSocket: "/a", XDSSocket: "/x", SelfSocket: "/s", AdminSocket: "/m", Listen: netip.MustParseAddrPort("127.0.0.1:8443"),
		Roots: r.roots,
	}
	fixed := envoy.Fixed(local)
	boot, err := writeBootstrap(r.dir, envoy.Bootstrap(local))
	if err != nil {
		r.t.Fatal(err)
	}
	served, err := newXDS(context.Background(), "test", envoy.Merge(fixed, envoy.BuiltIn()), &clientCertificates{log: log}, func(string) {}, log)
	if err != nil {
		r.t.Fatal(err)
	}
	r.applier = &applier{
		workspace: r.world.State.Workspace.Slug, stateDir: r.dir, fixed: fixed, bootstrap: boot, xds: served,
		service: extauthz.New(extauthz.Config{
			Clock: extauthz.NewClock(extauthz.BootTime, time.Now), Recorder: newShipper(1, log), Read: extauthz.ReadClocks,
			Credentials: extauthz.NewCredentials("", func(string) (string, bool) { return "", false }),
			Routes:      func(string) bool { return true }, Log: log,
		}),
		state:  newState(time.Minute, time.Now, served.Verdict, always, log),
		keeper: newKeeper(r.dir, log), bar: func(bool) bool { return false }, succeeded: func() {}, trust: bundle.Trust{Root: r.world.Root.Fingerprint()}, log: log,
	}
	if err := r.load(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// send has a message be taken, which is never the host's fault.
func (r *receiver) send(m *syncpb.ControlMessage) (*syncpb.Acknowledged, *syncpb.Refused) {
	r.t.Helper()
	acknowledged, refused, err := r.take(r.t.Context(), m)
	if err != nil {
		r.t.Fatal(err)
	}
	return acknowledged, refused
}

// sendWhole sends the workspace as it is, and gives what the last piece is answered.
func (r *receiver) sendWhole() (*syncpb.Acknowledged, *syncpb.Refused) {
	r.t.Helper()
	pieces := inPieces(r.world.Seal(), 3000)
	for _, piece := range pieces[:len(pieces)-1] {
		if acknowledged, refused := r.send(piece); acknowledged != nil || refused != nil {
			r.t.Fatalf("a piece is answered %v, %v", acknowledged, refused)
		}
	}
	return r.send(pieces[len(pieces)-1])
}

func inPieces(sealed bundle.Sealed, size int) []*syncpb.ControlMessage {
	var messages []*syncpb.ControlMessage
	for offset := 0; offset < len(sealed); offset += size {
		messages = append(messages, piece(sealed[offset:min(offset+size, len(sealed))], offset, len(sealed)))
	}
	return messages
}

func piece(content []byte, offset, size int) *syncpb.ControlMessage {
	return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{
		Revision: 7, Sealed: content, Offset: uint64(offset), Size: uint64(size),
	}}}
}

// delta is the workspace's next change: all of it that is other than before.
func (r *receiver) delta() *syncpb.ControlMessage {
	r.t.Helper()
	e := bundle.Edits{Head: &r.world.State.Head}
	e.Principals.Set, e.Mandates.Set = r.world.State.Principals, r.world.State.Mandates
	sealed := r.world.Delta(r.index, e)
	return &syncpb.ControlMessage{Message: &syncpb.ControlMessage_Delta{Delta: &syncpb.Delta{
		From: r.world.State.Revision - 1, Revision: r.world.State.Revision, Sealed: sealed,
	}}}
}

// enforces holds what decisions are made from against the workspace, and the acknowledgement against both.
func (r *receiver) enforces(revision uint64, acknowledged *syncpb.Acknowledged, refused *syncpb.Refused) {
	r.t.Helper()
	s := r.service.Snapshot()
	if s == nil || s.Revision() != revision || refused != nil {
		r.t.Fatalf("revision %d is not enforced: %v, refused %v", revision, s, refused)
	}
	digest := s.Digest()
	want := &syncpb.Acknowledged{Revision: revision, Digest: digest[:]}
	if diff := cmp.Diff(want, acknowledged, protocmp.Transform()); diff != "" {
		r.t.Errorf("acknowledged (-want +got)\n%s", diff)
	}
	if timeline, at, known := r.position(); timeline != r.world.State.Timeline || at != revision || !bytes.Equal(known, digest[:]) {
		r.t.Errorf("the position is %s, %d, %x", timeline, at, known)
	}
}

// resumes holds what another process starts from against what it should.
func (r *receiver) resumes(revision uint64, revoked bool) {
	r.t.Helper()
	r.restart()
	s := r.service.Snapshot()
	if revision == 0 {
		if s != nil {
			r.t.Errorf("the next process starts from revision %d, want nothing", s.Revision())
		}
		return
	}
	if s == nil || s.Revision() != revision {
		r.t.Fatalf("the next process starts from %v, want revision %d", s, revision)
	}
	if m, _ := s.Mandate(r.world.Mandate.ID); m.Revoked != revoked {
		r.t.Errorf("the mandate is revoked there: %t, want %t", m.Revoked, revoked)
	}
}

func TestASnapshotAndItsChangesAreEnforcedAndKept(t *testing.T) {
	r := newReceiver(t)
	acknowledged, refused := r.sendWhole()
	r.enforces(7, acknowledged, refused)
	r.resumes(7, false)
	r.world.Revoke(r.world.Mandate.ID)
	acknowledged, refused = r.send(r.delta())
	r.enforces(8, acknowledged, refused)
	r.resumes(8, true)
	r.world.Register("another", authority.Agent)
	acknowledged, refused = r.send(r.delta())
	r.enforces(9, acknowledged, refused)
	r.resumes(9, true)
	acknowledged, refused = r.sendWhole() // of the same revision
	r.enforces(9, acknowledged, refused)
	r.resumes(9, true)
	if size := r.keeper.journal.Size(); size != 0 {
		t.Errorf("%d bytes of changes are kept beside the snapshot that holds them", size)
	}
}

func TestPiecesThatDoNotMakeASnapshotAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		sent func(sealed bundle.Sealed) []*syncpb.ControlMessage
		want bundle.Code
	}{
		"one that begins in the middle": {func(b bundle.Sealed) []*syncpb.ControlMessage { return inPieces(b, 2000)[1:2] }, bundle.CodeTruncated},
		"one that leaves a gap": {func(b bundle.Sealed) []*syncpb.ControlMessage {
			p := inPieces(b, 1000)
			return []*syncpb.ControlMessage{p[0], p[2]}
		}, bundle.CodeTruncated},
		"one that comes twice": {func(b bundle.Sealed) []*syncpb.ControlMessage {
			p := inPieces(b, 1000)
			return []*syncpb.ControlMessage{p[0], p[1], p[1]}
		}, bundle.CodeTruncated},
		"of two sizes": {func(b bundle.Sealed) []*syncpb.ControlMessage {
			return []*syncpb.ControlMessage{piece(b[:1000], 0, len(b)), piece(b[1000:2000], 1000, len(b)+1)}
		}, bundle.CodeTruncated},
		"more than its size": {func(b bundle.Sealed) []*syncpb.ControlMessage { return []*syncpb.ControlMessage{piece(b, 0, 1000)} }, bundle.CodeTruncated},
		"an empty one":       {func(b bundle.Sealed) []*syncpb.ControlMessage { return []*syncpb.ControlMessage{piece(nil, 0, len(b))} }, bundle.CodeTruncated},
		"of no size":         {func(b bundle.Sealed) []*syncpb.ControlMessage { return []*syncpb.ControlMessage{piece(b, 0, 0)} }, bundle.CodeInvalid},
		"of a size past the limit": {func(b bundle.Sealed) []*syncpb.ControlMessage {
			return []*syncpb.ControlMessage{piece(b[:10], 0, bundle.MaxSealed+1)}
		}, bundle.CodeInvalid},
		"the pieces of two snapshots": {func(b bundle.Sealed) []*syncpb.ControlMessage {
			other := slices.Clone(b)
			other[len(other)-1] ^= 1
			return []*syncpb.ControlMessage{piece(b[:1000], 0, len(b)), piece(other[1000:], 1000, len(b))}
		}, bundle.CodeUnsigned},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.sendWhole()
			r.world.State.Revision++
			sent := c.sent(r.world.Seal())
			for i, m := range sent {
				acknowledged, refused := r.send(m)
				if last := i == len(sent)-1; acknowledged != nil || last != (refused.GetCode() == string(c.want)) {
					t.Errorf("piece %d is answered %v, %v; want %s for the last", i, acknowledged, refused, c.want)
				}
			}
			if s := r.service.Snapshot(); s.Revision() != 7 {
				t.Errorf("revision %d is enforced, want the last good one", s.Revision())
			}
			acknowledged, refused := r.sendWhole()
			r.enforces(8, acknowledged, refused)
			r.resumes(8, false)
		})
	}
}

func TestAChangeThatDoesNotContinueWhatIsEnforcedAsksForASnapshotOnce(t *testing.T) {
	r := newReceiver(t)
	if acknowledged, refused := r.send(r.delta()); acknowledged != nil || refused.GetCode() != "bundle_gap" {
		t.Errorf("without a state, a change is answered %v, %v", acknowledged, refused)
	}
	acknowledged, refused := r.sendWhole()
	r.enforces(8, acknowledged, refused)

	r.world.Register("one", authority.Agent)
	lost := r.delta()
	r.world.Register("two", authority.Agent)
	if acknowledged, refused := r.send(r.delta()); acknowledged != nil || refused.GetCode() != "bundle_gap" || refused.GetRevision() != 10 {
		t.Errorf("behind a gap, a change is answered %v, %v", acknowledged, refused)
	}
	r.world.Register("three", authority.Agent)
	if acknowledged, refused := r.send(r.delta()); acknowledged != nil || refused != nil {
		t.Errorf("the next change, too, is answered %v, %v", acknowledged, refused)
	}
	acknowledged, refused = r.send(lost) // what fits is enforced all the same
	r.enforces(9, acknowledged, refused)
	r.begin()
	r.world.Register("four", authority.Agent)
	if acknowledged, refused := r.send(r.delta()); acknowledged != nil || refused.GetCode() != "bundle_gap" {
		t.Errorf("on another stream, a change is answered %v, %v", acknowledged, refused)
	}
	acknowledged, refused = r.sendWhole()
	r.enforces(12, acknowledged, refused)
	if acknowledged, refused := r.send(lost); acknowledged != nil || refused.GetCode() != "bundle_older" {
		t.Errorf("a change that is enforced already is answered %v, %v", acknowledged, refused)
	}
	r.resumes(12, false)
}

func TestAChangeThatCannotBeEnforcedLeavesTheLastGoodState(t *testing.T) {
	for name, spoil := range map[string]func(r *receiver){
		"a policy that does not compile":      func(r *receiver) { r.world.Govern("package caracal.policy\n\ndeny contains") },
		"an Envoy configuration that is none": func(r *receiver) { r.world.State.Envoy = []byte("{") },
		"no Envoy configuration":              func(r *receiver) { r.world.State.Envoy = nil },
		"a client authority without a certificate": func(r *receiver) {
			r.world.State.ClientAuthorities = []authority.ClientAuthority{{ID: "cau_x", WorkspaceID: r.world.State.Workspace.ID, Roots: "none"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.sendWhole()
			r.world.Revoke(r.world.Mandate.ID)
			spoil(r)
			if acknowledged, refused := r.send(r.delta()); acknowledged != nil || refused.GetCode() != "bundle_invalid" {
				t.Errorf("it is answered %v, %v", acknowledged, refused)
			}
			if s := r.service.Snapshot(); s.Revision() != 7 {
				t.Errorf("revision %d is enforced", s.Revision())
			}
			if health := r.state.Health(); !strings.Contains(fmt.Sprint(health.Reasons), "the newest bundle is refused") {
				t.Errorf("health does not say so: %v", health.Reasons)
			}
			r.resumes(7, false)
		})
	}
}

func TestWhatIsKeptIsNotBelieved(t *testing.T) {
	edit := func(name string, change func([]byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  uint64
	}{
		"as it was kept":                      {func(*testing.T, string) {}, 9},
		"a snapshot with a changed byte":      {edit("bundle", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), 0},
		"a snapshot that ends early":          {edit("bundle", func(b []byte) []byte { return b[:len(b)-1] }), 0},
		"no snapshot":                         {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "bundle")) }, 0},
		"a journal that ends within a change": {edit("bundle.journal", func(b []byte) []byte { return b[:len(b)-1] }), 8},
		"a change with a changed byte":        {edit("bundle.journal", func(b []byte) []byte { b[len(b)/4] ^= 1; return b }), 0},
		"a last change with a changed byte":   {edit("bundle.journal", func(b []byte) []byte { b[len(b)-10] ^= 1; return b }), 0},
		"changes of which the first is gone":  {edit("bundle.journal", func(b []byte) []byte { return b[8+int(b[2])<<8+int(b[3]):] }), 0},
		"a last change whose length has changed": {edit("bundle.journal", func(b []byte) []byte {
			b[8+int(b[2])<<8+int(b[3])+1] ^= 1
			return b
		}), 0},
		"a length past the limit":        {edit("bundle.journal", func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0) }), 0},
		"a directory in the place of it": {func(t *testing.T, dir string) { swap(t, filepath.Join(dir, "bundle.journal")) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.sendWhole()
			r.send(r.delta())
			r.world.Revoke(r.world.Mandate.ID)
			acknowledged, refused := r.send(r.delta())
			r.enforces(9, acknowledged, refused)
			c.spoil(t, r.dir)
			r.resumes(c.want, c.want == 9)
			// Whatever was kept, the gateway goes on from a snapshot, and keeps it.
			r.world.State.Revision, r.world.State.Workspace.Revision = 10, 10
			acknowledged, refused = r.sendWhole()
			r.enforces(10, acknowledged, refused)
			if name != "a directory in the place of it" {
				r.resumes(10, true)
			}
		})
	}
}

// swap puts a directory, which is not empty, in the place of a file.
func swap(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// A process that is killed between keeping a snapshot and clearing the journal leaves changes that the snapshot holds.
func TestChangesThatAKeptSnapshotHoldsAreSkipped(t *testing.T) {
	r := newReceiver(t)
	r.sendWhole()
	r.world.Revoke(r.world.Mandate.ID)
	r.send(r.delta())
	path := filepath.Join(r.dir, "bundle.journal")
	stale, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.send(r.delta())
	r.world.State.Revision, r.world.State.Workspace.Revision = 10, 10
	r.sendWhole()
	if err := os.WriteFile(path, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	r.resumes(10, true)
}

func TestADiskThatTakesNothingHoldsUpNoRevocation(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, r *receiver) *syncpb.ControlMessage{
		"a change": func(t *testing.T, r *receiver) *syncpb.ControlMessage {
			if err := r.keeper.journal.Close(); err != nil { // every write to it fails from now on
				t.Fatal(err)
			}
			return r.delta()
		},
		"a snapshot": func(t *testing.T, r *receiver) *syncpb.ControlMessage {
			if err := os.Mkdir(filepath.Join(r.dir, "bundle.next"), 0o700); err != nil { // in the way of writing
				t.Fatal(err)
			}
			r.world.State.Revision, r.world.State.Workspace.Revision = 8, 8
			sealed := r.world.Seal()
			return piece(sealed, 0, len(sealed))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.sendWhole()
			r.world.Revoke(r.world.Mandate.ID)
			acknowledged, refused := r.send(fail(t, r))
			r.enforces(8, acknowledged, refused)
			if m, _ := r.service.Snapshot().Mandate(r.world.Mandate.ID); !m.Revoked {
				t.Error("the mandate is not revoked")
			}
			// What is older than that is not left for the next process, nor is what would continue it.
			r.index = r.world.Index()
			acknowledged, refused = r.send(r.delta())
			r.enforces(9, acknowledged, refused)
			r.resumes(0, false)
		})
	}
}

func TestAJournalThatOutgrowsItsSnapshotAsksForAnother(t *testing.T) {
	r := newReceiver(t)
	r.sendWhole()
	asked := 0
	for i := 0; asked == 0 && i < 100; i++ {
		// Noise, which does not compress, in the metadata of one agent after the other.
		p := r.world.Register(fmt.Sprint("agent ", i), authority.Agent)
		r.world.State.Principals[len(r.world.State.Principals)-1].Metadata = map[string]string{"noise": noise(1 << 19)}
		acknowledged, refused := r.send(r.delta())
		if acknowledged.GetRevision() != r.world.State.Revision {
			t.Fatalf("principal %s: answered %v, %v", p.ID, acknowledged, refused)
		}
		if refused != nil {
			asked++
			if refused.GetCode() != "bundle_gap" || r.keeper.journal.Size() <= minJournal {
				t.Errorf("after %d bytes it is answered %v", r.keeper.journal.Size(), refused)
			}
		}
	}
	if asked != 1 {
		t.Fatalf("a journal of %d bytes asks for no snapshot", r.keeper.journal.Size())
	}
	if _, refused := r.send(r.delta()); refused != nil {
		t.Errorf("it is asked for once more: %v", refused)
	}
	acknowledged, refused := r.sendWhole()
	r.enforces(r.world.State.Revision, acknowledged, refused)
	if r.keeper.journal.Size() != 0 {
		t.Errorf("the journal still has %d bytes", r.keeper.journal.Size())
	}
}

// noise is a text that does not compress below half its size.
func noise(bytes int) string {
	random := make([]byte, bytes)
	rand.Read(random)
	return hex.EncodeToString(random)
}

func TestEnvoyIsGivenAConfigurationOnlyWhereItIsAnother(t *testing.T) {
	r := newReceiver(t)
	r.sendWhole()
	if again, err := r.configure(r.world.State.Envoy); err != nil || again != nil {
		t.Errorf("the same configuration is given again (%v)", err)
	}
	r.world.State.Destinations = r.world.State.Destinations[1:]
	r.route()
	if other, err := r.configure(r.world.State.Envoy); err != nil || other == nil {
		t.Errorf("another configuration is not given (%v)", err)
	}
	acknowledged, refused := r.send(r.delta())
	r.enforces(8, acknowledged, refused)
	if again, err := r.configure(r.world.State.Envoy); err != nil || again != nil {
		t.Errorf("after the change, the configuration is given again (%v)", err)
	}
}
