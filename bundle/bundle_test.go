package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

func TestABundleOpensAsItWasSealed(t *testing.T) {
	w := newWorld()
	want := w.snapshot(7)
	sealed := w.seal(t, want)
	got, keys, err := bundle.Open(sealed, w.trust())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-sealed +opened)\n%s", diff)
	}
	if diff := cmp.Diff(w.set, keys); diff != "" {
		t.Errorf("key set (-sealed +opened)\n%s", diff)
	}
	if sealed.Revision() != 7 {
		t.Errorf("revision %d, want 7", sealed.Revision())
	}
	if got := len(sealed.Digest()); got != sha256.Size {
		t.Errorf("digest of %d bytes, want %d", got, sha256.Size)
	}
}

func TestTheSameStateHasTheSameDigestWheneverItIsSealed(t *testing.T) {
	w := newWorld()
	s := w.snapshot(7)
	first := w.seal(t, s)
	s.IssuedAt = epoch.Add(time.Hour)
	if second := w.seal(t, s); !bytes.Equal(first.Digest(), second.Digest()) {
		t.Errorf("digest %x, and an hour later %x", first.Digest(), second.Digest())
	}
	s.ActivePolicies++
	if other := w.seal(t, s); bytes.Equal(first.Digest(), other.Digest()) {
		t.Error("another state has the same digest")
	}
}

func TestABundleIsAdmittedWhenItIs(t *testing.T) {
	w := newWorld()
	enforced := w.snapshot(7)
	sealed := w.seal(t, enforced)
	trust := w.trust().Enforced(sealed, enforced, w.set)
	rotated := w
	rotated.set.Version++
	for name, test := range map[string]struct {
		sealed bundle.Sealed
		trust  bundle.Trust
	}{
		"the first":                 {sealed, w.trust()},
		"the one that is enforced":  {sealed, trust},
		"the next revision":         {w.seal(t, w.snapshot(8)), trust},
		"a much later revision":     {w.seal(t, w.snapshot(1<<63)), trust},
		"under a newer key set":     {rotated.seal(t, w.snapshot(8)), trust},
		"kept, and read at a start": {sealed, bundle.Trust{Root: w.root.Fingerprint(), Workspace: w.set.Workspace}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := bundle.Open(test.sealed, test.trust); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestABundleIsRefusedWhenItIs(t *testing.T) {
	w, stranger := newWorld(), newWorld()
	enforced := w.snapshot(7)
	sealed := w.seal(t, enforced)
	trust := w.trust().Enforced(sealed, enforced, w.set)
	next := w.snapshot(8)
	good := w.seal(t, next)

	sibling := w // another workspace whose key set the same root has sealed
	sibling.set.Workspace = stranger.set.Workspace
	restored, moved, rolledBack := w, w, w
	restored.set.Timeline, moved.set.Deployment, rolledBack.set.Version = "another", "dep_other", 2
	restoredNext, movedNext := next, next
	restoredNext.Timeline, movedNext.Deployment = "another", "dep_other"
	rekeyed := w // signs with a key that its key set does not hold
	rekeyed.key = stranger.key
	other := w.snapshot(7)
	other.ActivePolicies++

	for name, test := range map[string]struct {
		sealed bundle.Sealed
		want   bundle.Code
	}{
		"nothing":                                {nil, bundle.CodeTruncated},
		"something else":                         {bundle.Sealed("PK\x03\x04 archive"), bundle.CodeInvalid},
		"of another magic number":                {append(bundle.Sealed("CARACAL\x02"), good[8:]...), bundle.CodeInvalid},
		"without a manifest":                     {with(good, func(p *parts) { p.signed = "" }), bundle.CodeUnsigned},
		"without a key set":                      {with(good, func(p *parts) { p.keySet = "" }), bundle.CodeUnsigned},
		"signed by a key that is not in its set": {rekeyed.seal(t, next), bundle.CodeUnsigned},
		"of another root":                        {stranger.seal(t, stranger.snapshot(8)), bundle.CodeForeign},
		"of another root, with our key set":      {with(stranger.seal(t, stranger.snapshot(8)), func(p *parts) { p.keySet = w.keySet(t) }), bundle.CodeUnsigned},
		"ours, with another root's key set":      {with(good, func(p *parts) { p.keySet = stranger.keySet(t) }), bundle.CodeForeign},
		"of another workspace of this root":      {sibling.seal(t, sibling.snapshot(8)), bundle.CodeForeign},
		"of another deployment":                  {moved.seal(t, movedNext), bundle.CodeForeign},
		"of another timeline":                    {restored.seal(t, restoredNext), bundle.CodeForeign},
		"of another timeline than its key set":   {w.seal(t, restoredNext), bundle.CodeForeign},
		"for another workspace than its keys":    {w.seal(t, sibling.snapshot(8)), bundle.CodeForeign},
		"for another deployment than its keys":   {w.seal(t, movedNext), bundle.CodeForeign},
		"an older revision":                      {w.seal(t, w.snapshot(6)), bundle.CodeOlder},
		"the same revision of another state":     {w.seal(t, other), bundle.CodeOlder},
		"newer under an older key set":           {rolledBack.seal(t, next), bundle.CodeOlder},
		"followed by more":                       {append(bytes.Clone(good), 0), bundle.CodeInvalid},
		"larger than is read":                    {make(bundle.Sealed, bundle.MaxSealed+1), bundle.CodeInvalid},
		"a length past all limits":               {append(bytes.Clone(good[:8]), 0xff, 0xff, 0xff, 0xff), bundle.CodeInvalid},
		"signed by an access token":              {with(good, func(p *parts) { p.signed = accessToken(t, w) }), bundle.CodeUnsigned},
	} {
		t.Run(name, func(t *testing.T) { refused(t, test.sealed, trust, test.want) })
	}
}

// refused checks that a bundle does not open, and nothing of it gets out.
func refused(t *testing.T, sealed bundle.Sealed, trust bundle.Trust, want bundle.Code) {
	t.Helper()
	s, keys, err := bundle.Open(sealed, trust)
	if err == nil {
		t.Fatal("it opens")
	}
	if got := bundle.CodeOf(err); got != want {
		t.Errorf("refused as %s (%v), want %s", got, err, want)
	}
	if s.Revision != 0 || s.Workspace.ID != "" || s.Mandates != nil || keys.Keys != nil {
		t.Errorf("refused, and yet it says %+v, %+v", s, keys)
	}
}

func accessToken(t *testing.T, w world) string {
	t.Helper()
	key := token.NewSigningKey(token.PurposeToken, epoch, epoch.Add(time.Hour))
	jws, err := token.SignAccess(key, token.Access{Deployment: deployment, Workspace: w.set.Workspace, IssuedAt: epoch, ExpiresAt: epoch.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// parts are what a bundle consists of.
type parts struct {
	signed, keySet string
	payload        []byte
}

// with is the bundle after a change to its parts.
func with(b bundle.Sealed, change func(*parts)) bundle.Sealed {
	rest := bytes.Clone(b[8:])
	next := func() string {
		length := binary.BigEndian.Uint32(rest)
		part := string(rest[4 : 4+length])
		rest = rest[4+length:]
		return part
	}
	p := parts{signed: next(), keySet: next()}
	p.payload = rest
	change(&p)
	return p.join()
}

func (p parts) join() bundle.Sealed {
	out := bundle.Sealed("CARACAL\x01")
	for _, part := range []string{p.signed, p.keySet} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return append(out, p.payload...)
}

// craft signs, with the right key, whatever a manifest says of whatever payload.
func (w world) craft(t *testing.T, content string, change func(manifest map[string]any)) bundle.Sealed {
	t.Helper()
	payload := compress(t, []byte(content))
	digest := sha256.Sum256(payload)
	manifest := map[string]any{
		"format": 1, "critical": []string{}, "timeline": timeline, "revision": 8, "encoding": "zstd",
		"sha256": digest[:], "sent": len(payload), "size": len(content),
	}
	change(manifest)
	body, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.SignManifest(w.key, token.Manifest{Deployment: deployment, Workspace: w.set.Workspace, IssuedAt: epoch, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return parts{signed: signed, keySet: w.keySet(t), payload: payload}.join()
}

func compress(t *testing.T, content []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(content, nil)
}

func TestASignedBundleIsStillRefusedFor(t *testing.T) {
	w := newWorld()
	encode := func(change func(*bundle.Snapshot)) string {
		s := w.snapshot(8)
		change(&s)
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(encoded)
	}
	good := encode(func(*bundle.Snapshot) {})
	changed := func(change func(*bundle.Snapshot)) bundle.Sealed {
		return w.craft(t, encode(change), func(map[string]any) {})
	}
	set := func(name string, value any) func(map[string]any) {
		return func(manifest map[string]any) { manifest[name] = value }
	}
	asIs := func(map[string]any) {}

	for name, test := range map[string]struct {
		sealed bundle.Sealed
		want   bundle.Code
	}{
		"a later format":                     {w.craft(t, good, set("format", 2)), bundle.CodeUnknownCritical},
		"no format":                          {w.craft(t, good, func(m map[string]any) { delete(m, "format") }), bundle.CodeUnknownCritical},
		"a critical member that is unknown":  {w.craft(t, good, set("critical", []string{"rego", "quotas"})), bundle.CodeUnknownCritical},
		"a later format of another form":     {w.craft(t, good, func(m map[string]any) { m["format"], m["size"] = 2, "large" }), bundle.CodeUnknownCritical},
		"a manifest of another form":         {w.craft(t, good, set("size", "large")), bundle.CodeInvalid},
		"a critical list of another form":    {w.craft(t, good, set("critical", "rego")), bundle.CodeInvalid},
		"revision 0":                         {w.craft(t, good, set("revision", 0)), bundle.CodeInvalid},
		"a revision below zero":              {w.craft(t, good, set("revision", -1)), bundle.CodeInvalid},
		"another encoding":                   {w.craft(t, good, set("encoding", "gzip")), bundle.CodeInvalid},
		"a digest of something else":         {w.craft(t, good, set("sha256", make([]byte, 32))), bundle.CodeUnsigned},
		"no digest":                          {w.craft(t, good, set("sha256", nil)), bundle.CodeUnsigned},
		"a size that is smaller":             {w.craft(t, good, set("size", len(good)-1)), bundle.CodeInvalid},
		"a size that is larger":              {w.craft(t, good, set("size", len(good)+1)), bundle.CodeInvalid},
		"a size past all limits":             {w.craft(t, good, set("size", uint64(1)<<63)), bundle.CodeInvalid},
		"more sent than is there":            {w.craft(t, good, set("sent", 1<<30)), bundle.CodeTruncated},
		"less sent than is there":            {w.craft(t, good, set("sent", 1)), bundle.CodeInvalid},
		"a payload of nothing":               {w.craft(t, "", asIs), bundle.CodeInvalid},
		"a payload that is no JSON":          {w.craft(t, "workspace", asIs), bundle.CodeInvalid},
		"a payload that is empty":            {w.craft(t, "{}", asIs), bundle.CodeInvalid},
		"a payload that is null":             {w.craft(t, "null", asIs), bundle.CodeInvalid},
		"a payload that ends early":          {w.craft(t, good[:len(good)-1], asIs), bundle.CodeInvalid},
		"text after the payload":             {w.craft(t, good+"{}", asIs), bundle.CodeInvalid},
		"a payload of another workspace":     {changed(func(s *bundle.Snapshot) { *s = newWorld().snapshot(8) }), bundle.CodeForeign},
		"a mandate of another workspace":     {changed(func(s *bundle.Snapshot) { s.Mandates[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a principal of another workspace":   {changed(func(s *bundle.Snapshot) { s.Principals[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a destination of another workspace": {changed(func(s *bundle.Snapshot) { s.Destinations[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a policy of another workspace":      {changed(func(s *bundle.Snapshot) { s.Rego.WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a principal twice":                  {changed(func(s *bundle.Snapshot) { s.Principals = append(s.Principals, s.Principals...) }), bundle.CodeInvalid},
		"a mandate twice":                    {changed(func(s *bundle.Snapshot) { s.Mandates = append(s.Mandates, s.Mandates...) }), bundle.CodeInvalid},
		"an agent key twice":                 {changed(func(s *bundle.Snapshot) { s.AgentKeys = append(s.AgentKeys, s.AgentKeys...) }), bundle.CodeInvalid},
		"a destination twice":                {changed(func(s *bundle.Snapshot) { s.Destinations = append(s.Destinations, s.Destinations...) }), bundle.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) { refused(t, test.sealed, w.trust(), test.want) })
	}
}

func TestAMemberThatIsUnknownAndNotCriticalIsIgnored(t *testing.T) {
	w := newWorld()
	encoded, err := json.Marshal(w.snapshot(8))
	if err != nil {
		t.Fatal(err)
	}
	content := `{"quotas":{"a":[1]},` + string(encoded[1:])
	s, _, err := bundle.Open(w.craft(t, content, func(m map[string]any) { m["critical"], m["signed_by"] = []string{"rego"}, "x" }), w.trust())
	if err != nil {
		t.Fatal(err)
	}
	if s.ActivePolicies != 12 {
		t.Errorf("%d policies, want 12", s.ActivePolicies)
	}
}

// A payload may decompress to no more than it says, and may say no more than the limit; what it would cost beyond that
// is never allocated.
func TestABombDoesNotGoOff(t *testing.T) {
	w := newWorld()
	bomb := strings.Repeat("\x00", 64<<20)
	for name, test := range map[string]struct {
		size any
		want bundle.Code
	}{
		"that says how large it is, past the limit": {uint64(bundle.MaxPayload + 1), bundle.CodeInvalid},
		"that says it is small":                     {1000, bundle.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := w.craft(t, bomb, func(m map[string]any) { m["size"] = test.size })
			if len(sealed) > 100<<10 {
				t.Fatalf("%d bytes are no bomb", len(sealed))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			refused(t, sealed, w.trust(), test.want)
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 40<<20 {
				t.Errorf("%d bytes are allocated for a bundle of %d", allocated, len(sealed))
			}
		})
	}
}

func TestABundleThatEndsEarlyIsRefused(t *testing.T) {
	w := newWorld()
	sealed := w.seal(t, w.snapshot(8))
	for end := range sealed {
		_, _, err := bundle.Open(sealed[:end], w.trust())
		if err == nil || bundle.CodeOf(err) != bundle.CodeTruncated {
			t.Fatalf("the first %d of %d bytes: %v, want %s", end, len(sealed), err, bundle.CodeTruncated)
		}
	}
}

func TestNoByteOfABundleCanBeChanged(t *testing.T) {
	w := newWorld()
	sealed := w.seal(t, w.snapshot(8))
	rapid.Check(t, func(t *rapid.T) {
		changed := bundle.Sealed(bytes.Clone(sealed))
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		if _, _, err := bundle.Open(changed, w.trust()); err == nil {
			t.Fatalf("byte %d of %d changed from %#x to %#x, and it opens", at, len(sealed), sealed[at], changed[at])
		}
		changed.Revision()
		changed.Digest()
	})
}

func TestEveryRegionOfABundleIsProtected(t *testing.T) {
	w := newWorld()
	sealed := w.seal(t, w.snapshot(8))
	flip := func(text string) string {
		changed := []byte(text)
		changed[len(changed)/2] ^= 1
		return string(changed)
	}
	flipSegment := func(jws string, i int) string {
		segments := strings.Split(jws, ".")
		segments[i] = flip(segments[i])
		return strings.Join(segments, ".")
	}
	for name, change := range map[string]func(*parts){
		"header of the manifest":    func(p *parts) { p.signed = flipSegment(p.signed, 0) },
		"body of the manifest":      func(p *parts) { p.signed = flipSegment(p.signed, 1) },
		"signature of the manifest": func(p *parts) { p.signed = flipSegment(p.signed, 2) },
		"signature of the key set":  func(p *parts) { p.keySet = flipSegment(p.keySet, 2) },
		"keys of the key set":       func(p *parts) { p.keySet = flipSegment(p.keySet, 1) },
		"payload":                   func(p *parts) { p.payload = []byte(flip(string(p.payload))) },
	} {
		t.Run(name, func(t *testing.T) { refused(t, with(sealed, change), w.trust(), bundle.CodeUnsigned) })
	}
}

func TestASnapshotIsNotSealed(t *testing.T) {
	w := newWorld()
	for name, change := range map[string]func(*bundle.Snapshot){
		"without a workspace":              func(s *bundle.Snapshot) { s.Workspace.ID = "" },
		"without a deployment":             func(s *bundle.Snapshot) { s.Deployment = "" },
		"without a timeline":               func(s *bundle.Snapshot) { s.Timeline = "" },
		"at revision 0":                    func(s *bundle.Snapshot) { s.Revision = 0 },
		"with a mandate twice":             func(s *bundle.Snapshot) { s.Mandates = append(s.Mandates, s.Mandates...) },
		"with another workspace's mandate": func(s *bundle.Snapshot) { s.Mandates[0].WorkspaceID = "ws_other" },
		"after its key has retired":        func(s *bundle.Snapshot) { s.IssuedAt = epoch.Add(48 * time.Hour) },
		"before its key signs":             func(s *bundle.Snapshot) { s.IssuedAt = epoch.Add(-2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			s := w.snapshot(8)
			change(&s)
			if sealed, err := bundle.Seal(s, w.key, w.keySet(t)); err == nil {
				t.Errorf("sealed %d bytes", len(sealed))
			}
		})
	}
	if _, err := bundle.Seal(w.snapshot(8), token.NewSigningKey(token.PurposeMandate, epoch, epoch.Add(time.Hour)), w.keySet(t)); err == nil {
		t.Error("a mandate key seals a bundle")
	}
}

func TestWhatCannotBeReadTellsNoRevision(t *testing.T) {
	w := newWorld()
	good := w.seal(t, w.snapshot(8))
	for name, sealed := range map[string]bundle.Sealed{
		"nothing": nil, "half": good[:40], "no JWS": with(good, func(p *parts) { p.signed = "..." }),
		"no JSON": with(good, func(p *parts) { p.signed = "a.AAAA.b" }),
	} {
		if got := sealed.Revision(); got != 0 {
			t.Errorf("%s: revision %d", name, got)
		}
	}
	if got := bundle.CodeOf(fmt.Errorf("disk full")); got != bundle.CodeInvalid {
		t.Errorf("an error of another kind is %s, want %s", got, bundle.CodeInvalid)
	}
}

func BenchmarkOpen(b *testing.B) {
	w := newWorld()
	s := w.snapshot(8)
	for range 10_000 {
		m := s.Mandates[0]
		m.ID = authority.NewID[authority.MandateID]()
		s.Mandates = append(s.Mandates, m)
	}
	sealed := w.seal(b, s)
	b.SetBytes(int64(len(sealed)))
	for b.Loop() {
		if _, _, err := bundle.Open(sealed, w.trust()); err != nil {
			b.Fatal(err)
		}
	}
}
