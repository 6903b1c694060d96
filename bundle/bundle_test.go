package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
	asSealed := cmpopts.IgnoreFields(bundle.Snapshot{}, "Digest")
	if diff := cmp.Diff(want, got, asSealed, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-sealed +opened)\n%s", diff)
	}
	if diff := cmp.Diff(w.set, keys); diff != "" {
		t.Errorf("key set (-sealed +opened)\n%s", diff)
	}
	if sealed.Revision() != 7 {
		t.Errorf("revision %d, want 7", sealed.Revision())
	}
	if !bytes.Equal(sealed.Digest(), got.Digest[:]) {
		t.Errorf("the manifest tells the digest %x, the state's is %x", sealed.Digest(), got.Digest)
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
	trust := w.trust().Enforced(opened(t, sealed), w.set)
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
	trust := w.trust().Enforced(opened(t, sealed), w.set)
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
		"of another magic number":                {append(bundle.Sealed("CARACAL\x01"), good[8:]...), bundle.CodeInvalid},
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
		"a length past all limits":               {append(bytes.Clone(good[:8]), 0xff, 0xff, 0xff, 0xff), bundle.CodeInvalid},
		"signed as a delta":                      {with(good, func(p *parts) { p.signed = take(w.delta(t, enforced, next)).signed }), bundle.CodeUnsigned},
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

// opened is what a bundle holds, for whoever trusts it.
func opened(t *testing.T, sealed bundle.Sealed) bundle.Snapshot {
	t.Helper()
	keySet := strings.Split(take(sealed).keySet, ".")
	claims, err := base64.RawURLEncoding.DecodeString(keySet[0])
	if err != nil {
		t.Fatal(err)
	}
	var header struct {
		Root token.Fingerprint `json:"kid"`
	}
	if err := json.Unmarshal(claims, &header); err != nil {
		t.Fatal(err)
	}
	s, _, err := bundle.Open(sealed, bundle.Trust{Root: header.Root})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parts are what a bundle or a delta consists of.
type parts struct {
	magic, signed, keySet string
	payload               []byte
}

func take(sealed []byte) parts {
	rest := bytes.Clone(sealed[8:])
	next := func() string {
		length := binary.BigEndian.Uint32(rest)
		part := string(rest[4 : 4+length])
		rest = rest[4+length:]
		return part
	}
	p := parts{magic: string(sealed[:8]), signed: next(), keySet: next()}
	p.payload = rest
	return p
}

// with is the bundle after a change to its parts.
func with(b bundle.Sealed, change func(*parts)) bundle.Sealed {
	p := take(b)
	change(&p)
	return p.join()
}

func (p parts) join() bundle.Sealed {
	out := bundle.Sealed(p.magic)
	for _, part := range []string{p.signed, p.keySet} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return append(out, p.payload...)
}

// section is one part of a crafted bundle.
type section struct {
	kind    bundle.Kind
	content string
}

// sections are the parts that a snapshot is sealed as.
func sections(t *testing.T, s bundle.Snapshot) []section {
	t.Helper()
	s.Workspace.Revision = 0
	head, err := json.Marshal(s.Head)
	if err != nil {
		t.Fatal(err)
	}
	all := []section{{bundle.KindHead, string(head)}}
	list := func(kind bundle.Kind, items ...any) {
		var lines strings.Builder
		for _, item := range items {
			line, err := json.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
		all = append(all, section{kind, lines.String()})
	}
	for _, p := range s.Principals {
		list(bundle.KindPrincipal, p)
	}
	for _, m := range s.Mandates {
		list(bundle.KindMandate, m)
	}
	for _, k := range s.AgentKeys {
		list(bundle.KindAgentKey, k)
	}
	return all
}

// craft signs, with the right key, whatever a manifest says of whatever parts.
func (w world) craft(t *testing.T, parts []section, change func(manifest map[string]any)) bundle.Sealed {
	t.Helper()
	var (
		payload   []byte
		described []map[string]any
		state     bundle.State
	)
	for _, part := range parts {
		sent := compress(t, []byte(part.content))
		digest := sha256.Sum256(sent)
		described = append(described, map[string]any{
			"kind": part.kind, "items": max(1, strings.Count(part.content, "\n")), "sha256": digest[:], "sent": len(sent), "size": len(part.content),
		})
		payload = append(payload, sent...)
		for _, item := range itemsOf(part) {
			state.Add(item)
		}
	}
	sum := state.Sum()
	manifest := map[string]any{
		"format": 2, "critical": []string{}, "timeline": timeline, "revision": 8, "encoding": "zstd", "state": sum[:], "parts": described,
	}
	change(manifest)
	return w.sign(t, token.ManifestSnapshot, "CARACAL\x02", manifest, payload)
}

// sign puts a bundle or a delta together.
func (w world) sign(t *testing.T, kind token.ManifestKind, magic string, manifest map[string]any, payload []byte) bundle.Sealed {
	t.Helper()
	body, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.SignManifest(w.key, token.Manifest{Kind: kind, Deployment: deployment, Workspace: w.set.Workspace, IssuedAt: epoch, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return parts{magic: magic, signed: signed, keySet: w.keySet(t), payload: payload}.join()
}

// itemsOf are the digests of the items in a part, as both planes are to compute them: SHA-256 over the kind and the id,
// each behind its length, and the content.
func itemsOf(part section) []bundle.Digest {
	item := func(id, content string) bundle.Digest {
		input := binary.BigEndian.AppendUint32(nil, uint32(len(part.kind)))
		input = append(input, part.kind...)
		input = binary.BigEndian.AppendUint32(input, uint32(len(id)))
		return sha256.Sum256(append(append(input, id...), content...))
	}
	var digests []bundle.Digest
	if part.kind == bundle.KindHead {
		var members map[string]json.RawMessage
		_ = json.Unmarshal([]byte(part.content), &members) // some cases are none
		for name, content := range members {
			if string(content) != "null" {
				digests = append(digests, item(name, string(content)))
			}
		}
		return digests
	}
	for line := range strings.Lines(part.content) {
		var id struct {
			Principal string `json:"principal_id"`
			Mandate   string `json:"mandate_id"`
			Key       string `json:"key_id"`
		}
		_ = json.Unmarshal([]byte(line), &id) // some cases are none
		name := map[bundle.Kind]string{bundle.KindPrincipal: id.Principal, bundle.KindMandate: id.Mandate, bundle.KindAgentKey: id.Key}[part.kind]
		digests = append(digests, item(name, strings.TrimSuffix(line, "\n")))
	}
	return digests
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
	good := sections(t, w.snapshot(8))
	asIs := func(map[string]any) {}
	changed := func(change func(*bundle.Snapshot)) bundle.Sealed {
		s := w.snapshot(8)
		change(&s)
		return w.craft(t, sections(t, s), asIs)
	}
	manifest := func(name string, value any) bundle.Sealed {
		return w.craft(t, good, func(m map[string]any) { m[name] = value })
	}
	described := func(at int, name string, value any) bundle.Sealed {
		return w.craft(t, good, func(m map[string]any) { m["parts"].([]map[string]any)[at][name] = value })
	}
	headed := func(content string) bundle.Sealed {
		return w.craft(t, append([]section{{bundle.KindHead, content}}, good[1:]...), asIs)
	}
	principals, mandates := good[1].content, good[2].content

	for name, test := range map[string]struct {
		sealed bundle.Sealed
		want   bundle.Code
	}{
		"an earlier format":                    {manifest("format", 1), bundle.CodeUnknownCritical},
		"a later format":                       {manifest("format", 3), bundle.CodeUnknownCritical},
		"no format":                            {manifest("format", nil), bundle.CodeUnknownCritical},
		"a critical member that is unknown":    {manifest("critical", []string{"rego", "quotas"}), bundle.CodeUnknownCritical},
		"a later format of another form":       {w.craft(t, good, func(m map[string]any) { m["format"], m["parts"] = 3, "many" }), bundle.CodeUnknownCritical},
		"a list that is unknown":               {described(3, "kind", "quotas"), bundle.CodeUnknownCritical},
		"a manifest of another form":           {manifest("parts", "many"), bundle.CodeInvalid},
		"a critical list of another form":      {manifest("critical", "rego"), bundle.CodeInvalid},
		"revision 0":                           {manifest("revision", 0), bundle.CodeInvalid},
		"a revision below zero":                {manifest("revision", -1), bundle.CodeInvalid},
		"another encoding":                     {manifest("encoding", "gzip"), bundle.CodeInvalid},
		"no parts":                             {manifest("parts", nil), bundle.CodeInvalid},
		"more parts than are read":             {w.craft(t, good, func(m map[string]any) { m["parts"] = slices.Repeat(m["parts"].([]map[string]any), 65) }), bundle.CodeInvalid},
		"no digest of the state":               {manifest("state", nil), bundle.CodeInvalid},
		"a digest of another state":            {manifest("state", make([]byte, 32)), bundle.CodeInvalid},
		"a digest of something else":           {described(0, "sha256", make([]byte, 32)), bundle.CodeUnsigned},
		"no digest":                            {described(2, "sha256", nil), bundle.CodeUnsigned},
		"a size that is smaller":               {described(2, "size", len(mandates)-1), bundle.CodeInvalid},
		"a size that is larger":                {described(2, "size", len(mandates)+1), bundle.CodeInvalid},
		"a size past all limits":               {described(0, "size", uint64(1)<<63), bundle.CodeInvalid},
		"more sent than is there":              {described(3, "sent", 1<<20), bundle.CodeTruncated},
		"more sent than is read":               {described(3, "sent", 1<<30), bundle.CodeInvalid},
		"less sent than is there":              {described(3, "sent", 1), bundle.CodeUnsigned},
		"a part less than is there":            {w.craft(t, good, func(m map[string]any) { m["parts"] = m["parts"].([]map[string]any)[:3] }), bundle.CodeInvalid},
		"more items than are there":            {described(2, "items", 2), bundle.CodeInvalid},
		"more items than a part can hold":      {described(2, "items", 1<<40), bundle.CodeInvalid},
		"items below zero":                     {described(2, "items", -1), bundle.CodeInvalid},
		"fewer items than are there":           {w.craft(t, []section{good[0], {bundle.KindPrincipal, principals + principals}}, func(m map[string]any) { m["parts"].([]map[string]any)[1]["items"] = 1 }), bundle.CodeInvalid},
		"no head":                              {w.craft(t, good[1:], asIs), bundle.CodeInvalid},
		"a head after the lists":               {w.craft(t, append(slices.Clone(good[1:]), good[0]), asIs), bundle.CodeInvalid},
		"two heads":                            {w.craft(t, append(slices.Clone(good), good[0]), asIs), bundle.CodeUnknownCritical},
		"lists in another order":               {w.craft(t, []section{good[0], good[2], good[1]}, asIs), bundle.CodeInvalid},
		"a head of nothing":                    {headed(""), bundle.CodeInvalid},
		"a head that is no JSON":               {headed("workspace"), bundle.CodeInvalid},
		"a head that is empty":                 {headed("{}"), bundle.CodeInvalid},
		"a head that is null":                  {headed("null"), bundle.CodeInvalid},
		"a head that ends early":               {headed(good[0].content[:len(good[0].content)-1]), bundle.CodeInvalid},
		"text after the head":                  {headed(good[0].content + "{}"), bundle.CodeInvalid},
		"a head of another workspace":          {changed(func(s *bundle.Snapshot) { *s = newWorld().snapshot(8) }), bundle.CodeForeign},
		"items of nothing":                     {w.craft(t, append(slices.Clone(good[:1]), section{bundle.KindMandate, "\n"}), asIs), bundle.CodeInvalid},
		"an item that is no JSON":              {w.craft(t, append(slices.Clone(good[:1]), section{bundle.KindMandate, "mandate\n"}), asIs), bundle.CodeInvalid},
		"an item that is empty":                {w.craft(t, append(slices.Clone(good[:1]), section{bundle.KindMandate, "{}\n"}), asIs), bundle.CodeInvalid},
		"an item without an id":                {changed(func(s *bundle.Snapshot) { s.Mandates[0].ID = "" }), bundle.CodeInvalid},
		"a mandate of another workspace":       {changed(func(s *bundle.Snapshot) { s.Mandates[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a principal of another workspace":     {changed(func(s *bundle.Snapshot) { s.Principals[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a destination of another workspace":   {changed(func(s *bundle.Snapshot) { s.Destinations[0].WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a policy of another workspace":        {changed(func(s *bundle.Snapshot) { s.Rego.WorkspaceID = "ws_other" }), bundle.CodeInvalid},
		"a principal twice":                    {changed(func(s *bundle.Snapshot) { s.Principals = append(s.Principals, s.Principals...) }), bundle.CodeInvalid},
		"a mandate twice":                      {changed(func(s *bundle.Snapshot) { s.Mandates = append(s.Mandates, s.Mandates...) }), bundle.CodeInvalid},
		"an agent key twice":                   {changed(func(s *bundle.Snapshot) { s.AgentKeys = append(s.AgentKeys, s.AgentKeys...) }), bundle.CodeInvalid},
		"a destination twice":                  {changed(func(s *bundle.Snapshot) { s.Destinations = append(s.Destinations, s.Destinations...) }), bundle.CodeInvalid},
		"ids that do not rise within a part":   {w.craft(t, append(slices.Clone(good[:1]), section{bundle.KindMandate, mandates + mandates}), asIs), bundle.CodeInvalid},
		"a signature that is a delta's":        {w.sign(t, token.ManifestDelta, "CARACAL\x02", map[string]any{"format": 2, "revision": 8, "timeline": timeline}, nil), bundle.CodeUnsigned},
		"a delta in the place of a snapshot":   {bundle.Sealed("CARADLT\x02"), bundle.CodeInvalid},
		"a bundle of the format before, whole": {append(bundle.Sealed("CARACAL\x01"), make([]byte, 100)...), bundle.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) { refused(t, test.sealed, w.trust(), test.want) })
	}
}

func TestAMemberThatIsUnknownAndNotCriticalIsIgnored(t *testing.T) {
	w := newWorld()
	all := sections(t, w.snapshot(8))
	all[0].content = `{"quotas":{"a":[1]},` + all[0].content[1:]
	all[2].content = `{"quota":7,` + all[2].content[1:]
	s, _, err := bundle.Open(w.craft(t, all, func(m map[string]any) { m["critical"], m["signed_by"] = []string{"rego"}, "x" }), w.trust())
	if err != nil {
		t.Fatal(err)
	}
	if s.ActivePolicies != 12 || len(s.Mandates) != 1 {
		t.Errorf("%d policies and %d mandates, want 12 and 1", s.ActivePolicies, len(s.Mandates))
	}
}

// A part may decompress to no more than it says, and may say no more than the limit; what it would cost beyond that is
// never allocated.
func TestABombDoesNotGoOff(t *testing.T) {
	w := newWorld()
	bomb := strings.Repeat("\x00", 64<<20)
	good := sections(t, w.snapshot(8))
	for name, test := range map[string]struct {
		size any
		at   int
	}{
		"that says how large it is, past the limit": {1<<26 + 1, 0},
		"that says it is small":                     {1000, 0},
		"in a list":                                 {1000, 2},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Clone(good)
			all[test.at].content = bomb
			sealed := w.craft(t, all, func(m map[string]any) { m["parts"].([]map[string]any)[test.at]["size"] = test.size })
			if len(sealed) > 100<<10 {
				t.Fatalf("%d bytes are no bomb", len(sealed))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			refused(t, sealed, w.trust(), bundle.CodeInvalid)
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
		"with a mandate without an id":     func(s *bundle.Snapshot) { s.Mandates[0].ID = "" },
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
