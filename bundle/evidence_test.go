package bundle_test

import (
	"testing"

	"github.com/caracal-gateway/caracal/bundle"
)

// succeeded is the world after its database was restored and that was accepted.
func (w world) succeeded() world {
	w.set.Timeline, w.set.Succeeds, w.set.Version = "the-successor", []string{timeline}, 1
	return w
}

func (w world) snapshotOf(revision uint64) bundle.Snapshot {
	s := w.snapshot(revision)
	s.Timeline = w.set.Timeline
	return s
}

func TestATimelineIsFollowedByItsSuccessorOnly(t *testing.T) {
	w := newWorld()
	enforced := w.snapshot(7)
	trust := w.trust().Enforced(reopened(t, w, enforced), w.set)
	next := w.succeeded()
	strange := w.succeeded()
	strange.set.Succeeds = []string{"yet-another"}
	late := w.succeeded()
	late.set.Timeline, late.set.Succeeds = "the-one-after", []string{"the-successor", timeline}

	for name, c := range map[string]struct {
		from  world
		trust bundle.Trust
		at    uint64
		want  bundle.Code // empty: it opens
	}{
		"the successor, at a lower revision and under a lower key set": {next, trust, 3, ""},
		"the successor of the successor":                               {late, trust, 3, ""},
		"a timeline that succeeds another":                             {strange, trust, 9, bundle.CodeForeign},
		"back to the one before": {
			w, w.trust().Enforced(reopened(t, next, next.snapshotOf(8)), next.set), 9, bundle.CodeForeign,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := bundle.Open(c.from.seal(t, c.from.snapshotOf(c.at)), c.trust)
			if got := bundle.CodeOf(err); err != nil && got != c.want || err == nil && c.want != "" {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// reopened is a snapshot as its receiver sees it.
func reopened(t *testing.T, w world, s bundle.Snapshot) bundle.Snapshot {
	t.Helper()
	got, _, err := bundle.Open(w.seal(t, s), w.trust())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestADeltaDoesNotLeadToAnotherTimeline(t *testing.T) {
	w := newWorld()
	from := reopened(t, w, w.snapshot(7))
	next := w.succeeded()
	to, base := next.snapshotOf(8), next.snapshotOf(7)
	if _, _, err := bundle.OpenDelta(next.delta(t, base, to), w.trust().Enforced(from, w.set)); bundle.CodeOf(err) != bundle.CodeGap {
		t.Errorf("a delta of the successor is answered %v, want %s", err, bundle.CodeGap)
	}
}

func TestEvidenceShowsWhatAControlPlaneHasMade(t *testing.T) {
	w := newWorld()
	trust := w.trust()
	trust.Deployment, trust.Workspace = w.set.Deployment, w.set.Workspace
	s := w.snapshot(7)
	for name, sealed := range map[string][]byte{"a snapshot": w.seal(t, s), "a delta": w.delta(t, w.snapshot(6), s)} {
		t.Run(name, func(t *testing.T) {
			evidence := bundle.EvidenceOf(sealed)
			got, err := evidence.Open(trust)
			if err != nil {
				t.Fatal(err)
			}
			if got.Revision != 7 || got.Timeline != timeline || !got.IssuedAt.Equal(epoch) || got.Digest == (bundle.Digest{}) {
				t.Errorf("proven is %+v", got)
			}
		})
	}
	good := bundle.EvidenceOf(w.seal(t, s))
	stranger, sibling := newWorld(), newWorld()
	sibling.root = w.root
	for name, e := range map[string]bundle.Evidence{
		"nothing":                   {},
		"no manifest":               {KeySet: good.KeySet},
		"no key set":                {Manifest: good.Manifest},
		"another root's":            bundle.EvidenceOf(stranger.seal(t, stranger.snapshot(7))),
		"another root's manifest":   {Manifest: bundle.EvidenceOf(stranger.seal(t, stranger.snapshot(7))).Manifest, KeySet: good.KeySet},
		"another workspace's":       bundle.EvidenceOf(sibling.seal(t, sibling.snapshot(7))),
		"a manifest with one digit": {Manifest: "1" + good.Manifest, KeySet: good.KeySet},
		"an access token":           {Manifest: accessToken(t, w), KeySet: good.KeySet},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := e.Open(trust); err == nil || got.Revision != 0 {
				t.Errorf("it proves %+v (%v)", got, err)
			}
		})
	}
	if e := bundle.EvidenceOf([]byte("something else")); e != (bundle.Evidence{}) {
		t.Errorf("evidence of nothing is %+v", e)
	}
}
