package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/token"
)

// changed is a snapshot with other items of every kind.
func (w world) changed(s bundle.Snapshot, revision uint64) bundle.Snapshot {
	other := w.snapshot(revision)
	s.Revision, s.Workspace.Revision, s.ActivePolicies, s.Rego, s.Envoy = revision, revision, 13, nil, []byte{7}
	s.Principals = append(other.Principals, s.Principals[0])
	s.Mandates = slices.Clone(s.Mandates)
	s.Mandates[0].Revoked, s.Mandates[0].RevokedAt = false, nil
	s.Mandates = append(s.Mandates, other.Mandates...)
	s.AgentKeys = other.AgentKeys
	return s
}

func TestADeltaOpensAsItWasSealed(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	to := w.changed(from, 9)
	want := w.change(t, from, to)
	got, keys, err := bundle.OpenDelta(w.delta(t, from, to), w.enforcing(t, from))
	if err != nil {
		t.Fatal(err)
	}
	// What did not change is not in it.
	want.Head = bundle.Head{Workspace: authority.Workspace{Revision: 9}, ActivePolicies: 13, Envoy: []byte{7}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-sealed +opened)\n%s", diff)
	}
	if diff := cmp.Diff(w.set, keys); diff != "" {
		t.Errorf("key set (-sealed +opened)\n%s", diff)
	}
	if len(got.Principals.Set) != 1 || len(got.Mandates.Set) != 2 || len(got.AgentKeys.Set) != 1 || len(got.AgentKeys.Removed) != 1 {
		t.Errorf("the delta holds more or less than what changed: %+v", got)
	}
	if opened := opened(t, w.seal(t, to)); opened.Digest != got.Digest {
		t.Errorf("the delta leads to %x, a snapshot of the same state is %x", got.Digest, opened.Digest)
	}
}

// enforcing is what a gateway knows that enforces a state.
func (w world) enforcing(t *testing.T, s bundle.Snapshot) bundle.Trust {
	t.Helper()
	return w.trust().Enforced(opened(t, w.seal(t, s)), w.set)
}

func TestTrustMovesOnWithEachDelta(t *testing.T) {
	w := newWorld()
	state := w.snapshot(7)
	trust := w.enforcing(t, state)
	for revision := uint64(8); revision < 12; revision++ {
		next := w.changed(state, revision)
		d, keys, err := bundle.OpenDelta(w.delta(t, state, next), trust)
		if err != nil {
			t.Fatal(err)
		}
		trust, state = trust.Advanced(d, keys), next
		w.set.Version++
	}
	if diff := cmp.Diff(w.enforcing(t, state).Digest, trust.Digest); diff != "" || trust.Revision != 11 || trust.KeySet != w.set.Version-1 {
		t.Errorf("the trust came to %+v", trust)
	}
	if _, _, err := bundle.Open(w.seal(t, w.snapshot(10)), trust); bundle.CodeOf(err) != bundle.CodeOlder {
		t.Errorf("an older snapshot is answered %v, want %s", err, bundle.CodeOlder)
	}
}

func TestADeltaIsRefusedWhenItIs(t *testing.T) {
	w, stranger := newWorld(), newWorld()
	from := w.snapshot(7)
	trust := w.enforcing(t, from)
	to := w.changed(from, 9)
	good := w.delta(t, from, to)
	between := func(from, to bundle.Snapshot) []byte { return w.delta(t, from, to) }

	sibling, restored, rolledBack, rekeyed := w, w, w, w
	sibling.set.Workspace, restored.set.Timeline, rolledBack.set.Version, rekeyed.key = stranger.set.Workspace, "another", 2, stranger.key
	restoredTo := to
	restoredTo.Timeline = "another"
	six, seven := w.snapshot(6), w.snapshot(7)

	for name, test := range map[string]struct {
		sealed []byte
		want   bundle.Code
	}{
		"nothing":                                {nil, bundle.CodeTruncated},
		"something else":                         {[]byte("PK\x03\x04 archive"), bundle.CodeInvalid},
		"a snapshot":                             {w.seal(t, to), bundle.CodeInvalid},
		"a snapshot's manifest":                  {with(good, func(p *parts) { p.signed = take(w.seal(t, to)).signed }), bundle.CodeUnsigned},
		"signed by an access token":              {with(good, func(p *parts) { p.signed = accessToken(t, w) }), bundle.CodeUnsigned},
		"without a manifest":                     {with(good, func(p *parts) { p.signed = "" }), bundle.CodeUnsigned},
		"without a key set":                      {with(good, func(p *parts) { p.keySet = "" }), bundle.CodeUnsigned},
		"signed by a key that is not in its set": {rekeyed.delta(t, from, to), bundle.CodeUnsigned},
		"of another root":                        {stranger.delta(t, stranger.snapshot(7), stranger.snapshot(9)), bundle.CodeForeign},
		"of another workspace of this root":      {sibling.delta(t, sibling.snapshot(7), sibling.snapshot(9)), bundle.CodeForeign},
		"of another timeline":                    {restored.delta(t, from, restoredTo), bundle.CodeForeign},
		"of another timeline than its key set":   {w.delta(t, from, restoredTo), bundle.CodeForeign},
		"newer under an older key set":           {rolledBack.delta(t, from, to), bundle.CodeOlder},
		"applied already":                        {between(six, from), bundle.CodeOlder},
		"of older revisions":                     {between(w.snapshot(4), six), bundle.CodeOlder},
		"from an earlier revision":               {between(six, to), bundle.CodeGap},
		"from a later revision":                  {between(w.snapshot(8), to), bundle.CodeGap},
		"from another state of the revision":     {between(seven, to), bundle.CodeGap},
		"followed by more":                       {append(bytes.Clone(good), 0), bundle.CodeInvalid},
		"larger than is read":                    {append(bytes.Clone(good), make([]byte, bundle.MaxDelta)...), bundle.CodeInvalid},
		"of other content than was signed":       {with(good, func(p *parts) { p.payload[len(p.payload)/2] ^= 1 }), bundle.CodeUnsigned},
	} {
		t.Run(name, func(t *testing.T) { refusedDelta(t, test.sealed, trust, test.want) })
	}
	refusedDelta(t, good, w.trust(), bundle.CodeGap) // a gateway without a state
}

func refusedDelta(t *testing.T, sealed []byte, trust bundle.Trust, want bundle.Code) {
	t.Helper()
	d, keys, err := bundle.OpenDelta(sealed, trust)
	if err == nil {
		t.Fatal("it opens")
	}
	if got := bundle.CodeOf(err); got != want {
		t.Errorf("refused as %s (%v), want %s", got, err, want)
	}
	if d.Revision != 0 || d.Mandates.Set != nil || keys.Keys != nil {
		t.Errorf("refused, and yet it says %+v, %+v", d, keys)
	}
}

// craftDelta signs, with the right key, whatever a manifest says of whatever content.
func (w world) craftDelta(t *testing.T, trust bundle.Trust, content string, change func(manifest map[string]any)) []byte {
	t.Helper()
	sent := compress(t, []byte(content))
	digest := sha256.Sum256(sent)
	manifest := map[string]any{
		"format": 2, "critical": []string{}, "timeline": timeline, "from": trust.Revision, "from_state": trust.Digest, "revision": 9,
		"state": make([]byte, 32), "encoding": "zstd", "sha256": digest[:], "sent": len(sent), "size": len(content),
	}
	change(manifest)
	return w.sign(t, token.ManifestDelta, "CARADLT\x02", manifest, sent)
}

func TestASignedDeltaIsStillRefusedFor(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	trust := w.enforcing(t, from)
	asIs := func(map[string]any) {}
	list := func(name, format string, items ...any) []byte {
		var encoded []any
		for _, item := range items {
			text, err := json.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			encoded = append(encoded, text)
		}
		return w.craftDelta(t, trust, fmt.Sprintf(`{%q:%s}`, name, fmt.Sprintf(format, encoded...)), asIs)
	}
	content := func(content string) []byte { return w.craftDelta(t, trust, content, asIs) }
	manifest := func(name string, value any) []byte {
		return w.craftDelta(t, trust, "{}", func(m map[string]any) { m[name] = value })
	}
	one, two := w.snapshot(7).Mandates[0], w.snapshot(7).Mandates[0]
	if one.ID > two.ID {
		one, two = two, one
	}
	foreign, nameless := one, one
	foreign.WorkspaceID, nameless.ID = "ws_other", ""
	foreignRego, err := json.Marshal(bundle.Head{Rego: &authority.RegoVersion{WorkspaceID: "ws_other"}})
	if err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		sealed []byte
		want   bundle.Code
	}{
		"a later format":                    {manifest("format", 3), bundle.CodeUnknownCritical},
		"no format":                         {manifest("format", nil), bundle.CodeUnknownCritical},
		"a critical member that is unknown": {manifest("critical", []string{"quotas"}), bundle.CodeUnknownCritical},
		"a manifest of another form":        {manifest("size", "large"), bundle.CodeInvalid},
		"no way forward":                    {manifest("revision", 7), bundle.CodeInvalid},
		"a way back":                        {manifest("revision", 3), bundle.CodeInvalid},
		"no state that it begins at":        {manifest("from_state", nil), bundle.CodeInvalid},
		"no state that it leads to":         {manifest("state", []byte{1}), bundle.CodeInvalid},
		"another encoding":                  {manifest("encoding", "gzip"), bundle.CodeInvalid},
		"a digest of something else":        {manifest("sha256", make([]byte, 32)), bundle.CodeUnsigned},
		"a size that is smaller":            {manifest("size", 1), bundle.CodeInvalid},
		"a size past all limits":            {manifest("size", uint64(1)<<63), bundle.CodeInvalid},
		"more sent than is there":           {manifest("sent", 1<<20), bundle.CodeTruncated},
		"less sent than is there":           {manifest("sent", 1), bundle.CodeInvalid},
		"content of nothing":                {content(""), bundle.CodeInvalid},
		"content that is no JSON":           {content("mandates"), bundle.CodeInvalid},
		"content that ends early":           {content(`{"mandates":{"set":[`), bundle.CodeInvalid},
		"text after the content":            {content("{}{}"), bundle.CodeInvalid},
		"a list of another form":            {content(`{"mandates":[]}`), bundle.CodeInvalid},
		"an item of another form":           {content(`{"mandates":{"set":["x"]}}`), bundle.CodeInvalid},
		"an item that is null":              {content(`{"mandates":{"set":[null]}}`), bundle.CodeInvalid},
		"an item without an id":             {list("mandates", `{"set":[%s]}`, nameless), bundle.CodeInvalid},
		"an item of another workspace":      {list("mandates", `{"set":[%s]}`, foreign), bundle.CodeInvalid},
		"an item twice":                     {list("mandates", `{"set":[%s,%[1]s]}`, one), bundle.CodeInvalid},
		"items out of order":                {list("mandates", `{"set":[%s,%s]}`, two, one), bundle.CodeInvalid},
		"an item set and removed":           {list("mandates", `{"set":[%s,%s],"removed":[%s]}`, one, two, two.ID), bundle.CodeInvalid},
		"an item removed twice":             {list("mandates", `{"removed":[%s,%[1]s]}`, one.ID), bundle.CodeInvalid},
		"an empty id removed":               {content(`{"principals":{"removed":[""]}}`), bundle.CodeInvalid},
		"a head of another workspace":       {content(`{"head":{"workspace":{"workspace_id":"ws_other"}}}`), bundle.CodeInvalid},
		"a head without its workspace":      {content(`{"head":{"workspace":null}}`), bundle.CodeInvalid},
		"a policy of another workspace":     {content(`{"head":` + string(foreignRego) + `}`), bundle.CodeInvalid},
		"a head of another form":            {content(`{"head":[]}`), bundle.CodeInvalid},
		"a member of another form":          {content(`{"head":{"destinations":7}}`), bundle.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) { refusedDelta(t, test.sealed, trust, test.want) })
	}
}

func TestAMemberOfADeltaThatIsUnknownIsCountedAndIgnored(t *testing.T) {
	w := newWorld()
	trust := w.enforcing(t, w.snapshot(7))
	d, _, err := bundle.OpenDelta(w.craftDelta(t, trust, `{"head":{"quotas":[1],"rego":null},"rumours":{}}`, func(map[string]any) {}), trust)
	if err != nil {
		t.Fatal(err)
	}
	if quotas, rego := d.Members["quotas"], d.Members["rego"]; quotas == (bundle.Digest{}) || rego != (bundle.Digest{}) || len(d.Members) != 2 {
		t.Errorf("members %v", d.Members)
	}
}

func TestADeltaThatIsABombDoesNotGoOff(t *testing.T) {
	w := newWorld()
	trust := w.enforcing(t, w.snapshot(7))
	bomb := strings.Repeat("\x00", 64<<20)
	for name, size := range map[string]int{"that says how large it is, past the limit": 64 << 20, "that says it is small": 1000} {
		t.Run(name, func(t *testing.T) {
			sealed := w.craftDelta(t, trust, bomb, func(m map[string]any) { m["size"] = size })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			refusedDelta(t, sealed, trust, bundle.CodeInvalid)
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 20<<20 {
				t.Errorf("%d bytes are allocated for a delta of %d", allocated, len(sealed))
			}
		})
	}
}

func TestADeltaThatEndsEarlyIsRefused(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	trust := w.enforcing(t, from)
	sealed := w.delta(t, from, w.changed(from, 8))
	for end := range sealed {
		if _, _, err := bundle.OpenDelta(sealed[:end], trust); bundle.CodeOf(err) != bundle.CodeTruncated {
			t.Fatalf("the first %d of %d bytes: %v, want %s", end, len(sealed), err, bundle.CodeTruncated)
		}
	}
}

func TestNoByteOfADeltaCanBeChanged(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	trust := w.enforcing(t, from)
	sealed := w.delta(t, from, w.changed(from, 8))
	rapid.Check(t, func(t *rapid.T) {
		changed := bytes.Clone(sealed)
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		if _, _, err := bundle.OpenDelta(changed, trust); err == nil {
			t.Fatalf("byte %d of %d changed from %#x to %#x, and it opens", at, len(sealed), sealed[at], changed[at])
		}
	})
}

func FuzzOpenDelta(f *testing.F) {
	w := newWorld()
	from := w.snapshot(7)
	sealed := w.delta(f, from, w.changed(from, 8))
	f.Add(sealed)
	f.Add(sealed[:len(sealed)/2])
	f.Add([]byte("CARADLT\x02"))
	s, _, err := bundle.Open(w.seal(f, from), w.trust())
	if err != nil {
		f.Fatal(err)
	}
	trust := w.trust().Enforced(s, w.set)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := bundle.OpenDelta(data, trust); err == nil && !bytes.Equal(data, sealed) {
			t.Error("something opens that was never sealed")
		}
	})
}

func TestADeltaIsNotSealed(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	for name, change := range map[string]func(*bundle.Delta){
		"without a workspace":         func(d *bundle.Delta) { d.Workspace = "" },
		"without a deployment":        func(d *bundle.Delta) { d.Deployment = "" },
		"without a timeline":          func(d *bundle.Delta) { d.Timeline = "" },
		"from revision 0":             func(d *bundle.Delta) { d.From = 0 },
		"to where it begins":          func(d *bundle.Delta) { d.Revision = d.From },
		"after its key has retired":   func(d *bundle.Delta) { d.IssuedAt = epoch.Add(48 * time.Hour) },
		"with another head than said": func(d *bundle.Delta) { d.Head.ActivePolicies++ },
	} {
		t.Run(name, func(t *testing.T) {
			d := w.change(t, from, w.changed(from, 8))
			change(&d)
			if _, err := bundle.SealDelta(d, w.key, w.keySet(t)); err == nil {
				t.Error("sealed")
			}
		})
	}
	large := w.changed(from, 8)
	for i := range 10 {
		p := large.Principals[0]
		p.ID, p.Name = authority.NewID[authority.PrincipalID](), noise(i, 1<<20)
		large.Principals = append(large.Principals, p)
	}
	if _, err := bundle.SealDelta(w.change(t, from, large), w.key, w.keySet(t)); !errors.Is(err, bundle.ErrDeltaTooLarge) {
		t.Errorf("a delta past the limit is answered %v", err)
	}
}

// noise is a text of hexadecimal digits, which do not compress well.
func noise(seed, size int) string {
	var text strings.Builder
	digest := sha256.Sum256([]byte{byte(seed)})
	for text.Len() < size {
		fmt.Fprintf(&text, "%x", digest)
		digest = sha256.Sum256(digest[:])
	}
	return text.String()
}

func TestAnIndexTellsWhatChanges(t *testing.T) {
	w := newWorld()
	from := w.snapshot(7)
	index, err := bundle.NewIndex(from)
	if err != nil {
		t.Fatal(err)
	}
	same, err := index.Delta(edits(from, from))
	if err != nil {
		t.Fatal(err)
	}
	if len(same.Members)+len(same.Principals.Set)+len(same.Mandates.Set)+len(same.AgentKeys.Set) != 0 || same.Digest != same.FromDigest {
		t.Errorf("the same state is told as %+v", same)
	}
	if same.Digest != opened(t, w.seal(t, from)).Digest {
		t.Error("the index and a snapshot of the state have different digests")
	}
	unknown := bundle.Edits{}
	unknown.Mandates.Removed = []authority.MandateID{authority.NewID[authority.MandateID]()}
	if d, err := index.Delta(unknown); err != nil || len(d.Mandates.Removed) != 0 {
		t.Errorf("what was never there is removed: %+v (%v)", d, err)
	}
	before := index.Digest()
	foreign, twice, both := bundle.Edits{}, bundle.Edits{}, bundle.Edits{}
	other := from.Mandates[0]
	other.Level++
	foreign.Mandates.Set = []authority.Mandate{other, {ID: "mdt_x", WorkspaceID: "ws_other"}}
	twice.Mandates.Set = []authority.Mandate{other, other}
	both.Mandates.Set, both.Mandates.Removed = []authority.Mandate{other}, []authority.MandateID{other.ID}
	strange := newWorld().snapshot(8)
	for name, e := range map[string]bundle.Edits{"of another workspace": foreign, "twice": twice, "set and removed": both, "a head of another workspace": {Head: &strange.Head}} {
		if _, err := index.Delta(e); err == nil || index.Digest() != before {
			t.Errorf("%s: %v, and the index is as before: %t", name, err, index.Digest() == before)
		}
	}
}

func TestTheDigestOfAStateDoesNotDependOnTheWayToIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var state bundle.State
		held := map[int]bundle.Digest{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 9), 0, 50).Draw(t, "changes") {
			if digest, ok := held[n]; ok {
				state.Remove(digest)
				delete(held, n)
				continue
			}
			held[n] = sha256.Sum256([]byte{byte(n)})
			state.Add(held[n])
		}
		var direct bundle.State
		for _, digest := range held {
			direct.Add(digest)
		}
		if state != direct || len(held) == 0 && state.Sum() != (bundle.Digest{}) {
			t.Fatalf("%d items make %x and %x", len(held), state.Sum(), direct.Sum())
		}
	})
}
