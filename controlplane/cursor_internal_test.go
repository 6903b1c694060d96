package controlplane

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzCursor tries texts as cursors: none opens that was not sealed, and what was sealed opens to what it was.
func FuzzCursor(f *testing.F) {
	s := &Service{cursorKey: []byte("key of this test")}
	scope := []byte("ws_a\x00list_principals\x00name\x00true\x00{}\x00")
	sealed, err := s.sealCursor(scope, place{Name: "name", ID: "prn_a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, "name", "prn_a", int64(0))
	f.Add(sealed+"A", "' OR 1=1 --", "x", int64(-1))
	f.Add("", "\x00", "prn_", int64(1)<<62)
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 40)), "", "", int64(0))
	f.Fuzz(func(t *testing.T, text, name, id string, micros int64) {
		if last, ok := s.openCursor(scope, text); ok && text != sealed {
			// The fuzzer has not the key: a text that opens is one that was sealed below, with the same scope.
			if again, err := s.sealCursor(scope, last); err != nil || again != text {
				t.Errorf("%q opens to %+v", text, last)
			}
		}
		want := place{Name: name, ID: id, Micros: micros}
		cursor, err := s.sealCursor(scope, want)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := s.openCursor(append([]byte("x"), scope...), cursor); ok {
			t.Error("a cursor opens for another scope")
		}
		got, ok := s.openCursor(scope, cursor)
		if !ok {
			if id != "" && len(cursor) <= maxCursor {
				t.Errorf("the cursor of %+v does not open", want)
			}
			return
		}
		// What is no UTF-8 cannot be in a list.
		want.Name, want.ID = got.Name, got.ID
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("opened (-want +got):\n%s", diff)
		}
	})
}
