package controlplane

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

const (
	cursorTag = 16 // bytes
	maxCursor = 1000
)

// place is where a page ends: what of its last item the list is sorted by, and the id.
type place struct {
	Micros   int64  `json:"t,omitempty"`
	Sequence int64  `json:"s,omitempty"`
	Name     string `json:"n,omitempty"`
	ID       string `json:"i"`
}

func at(t time.Time, sequence int64, id string) place {
	return place{Micros: t.UnixMicro(), Sequence: sequence, ID: id}
}

// listing is one list as a caller asks for it.
type listing[T any] struct {
	op operation
	// filter is what narrows the list; a cursor is good for the same one only.
	filter any
	// keys are what the list can be sorted by. Unless told it is by the first, the last first.
	keys []postgres.Key
	look func(context.Context, *postgres.Tx, postgres.Page) ([]T, error)
	// end is the place of an item in the order of a key.
	end func(T, postgres.Key) place
}

// order reads how the list is to be sorted. What callers say is compared with the list's keys and goes no further.
func (l listing[T]) order(sort string) (postgres.Order, error) {
	if sort == "" {
		return postgres.Order{Key: l.keys[0]}, nil
	}
	name, descending := strings.CutPrefix(sort, "-")
	if i := slices.Index(l.keys, postgres.Key(name)); i >= 0 {
		return postgres.Order{Key: l.keys[i], Ascending: !descending}, nil
	}
	return postgres.Order{}, authority.Invalid("sort", "this list is sorted by: %s", l.sorts())
}

func (l listing[T]) sorts() string {
	var all []string
	for _, key := range l.keys {
		all = append(all, string(key), "-"+string(key))
	}
	return strings.Join(all, ", ")
}

// scope is what a cursor of the list is bound to.
func (l listing[T]) scope(c Caller, order postgres.Order) ([]byte, error) {
	filter, err := json.Marshal(l.filter)
	if err != nil {
		return nil, fmt.Errorf("bind cursor: %w", err)
	}
	return fmt.Appendf(nil, "%s\x00%s\x00%s\x00%t\x00%s\x00", c.workspace, l.op.name, order.Key, order.Ascending, filter), nil
}

// page reads a page request.
func (l listing[T]) page(s *Service, c Caller, p Page) (postgres.Page, error) {
	limit := p.Limit
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 1 || limit > MaxPage {
		return postgres.Page{}, authority.Invalid("limit", "is 1 to %d", MaxPage)
	}
	order, err := l.order(p.Sort)
	if err != nil {
		return postgres.Page{}, err
	}
	// One more than is shown tells whether there is a next page.
	page := postgres.Page{Size: int32(limit + 1), Order: order}
	if p.Cursor == "" {
		return page, nil
	}
	scope, err := l.scope(c, order)
	if err != nil {
		return page, err
	}
	last, ok := s.openCursor(scope, p.Cursor)
	if !ok {
		return page, authority.Invalid("cursor", "is not a next_cursor of this list with this filter and sort")
	}
	page.AfterTime, page.AfterSequence = time.UnixMicro(last.Micros).UTC(), last.Sequence
	page.AfterName, page.AfterID = last.Name, last.ID
	return page, nil
}

// openCursor reads a cursor that was sealed for the same scope; any other text is none.
func (s *Service) openCursor(scope []byte, cursor string) (place, bool) {
	var last place
	text, ok := s.unsealed(scope, cursor)
	if !ok || json.Unmarshal(text, &last) != nil || last.ID == "" {
		return place{}, false
	}
	return last, true
}

// unsealed is what was sealed for the same scope.
func (s *Service) unsealed(scope []byte, cursor string) ([]byte, bool) {
	if len(cursor) > maxCursor {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) <= cursorTag {
		return nil, false
	}
	tag, text := raw[:cursorTag], raw[cursorTag:]
	return text, hmac.Equal(tag, s.cursorMAC(scope, text))
}

func (s *Service) sealCursor(scope []byte, last place) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(last); err != nil {
		return "", fmt.Errorf("make cursor: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(s.cursorMAC(scope, text.Bytes()), text.Bytes()...)), nil
}

func (s *Service) cursorMAC(scope, text []byte) []byte {
	mac := hmac.New(sha256.New, s.cursorKey)
	mac.Write(scope)
	mac.Write(text)
	return mac.Sum(nil)[:cursorTag]
}

// read answers one page through the choke point.
func (l listing[T]) read(ctx context.Context, s *Service, c Caller, p Page) (List[T], error) {
	if err := s.permit(ctx, c, l.op); err != nil {
		return List[T]{}, err
	}
	page, err := l.page(s, c, p)
	if err != nil {
		return List[T]{}, err
	}
	return read(ctx, s, c, l.op, func(ctx context.Context, tx *postgres.Tx) (List[T], error) {
		items, err := l.look(ctx, tx, page)
		if err != nil {
			return List[T]{}, err
		}
		shown := int(page.Size) - 1
		if len(items) <= shown {
			return List[T]{Items: items}, nil
		}
		scope, err := l.scope(c, page.Order)
		if err != nil {
			return List[T]{}, err
		}
		cursor, err := s.sealCursor(scope, l.end(items[shown-1], page.Order.Key))
		return List[T]{Items: items[:shown], NextCursor: cursor}, err
	})
}

// byCreation are the keys of a list that is sorted by creation alone, and byNameToo of one that has names.
func byCreation() []postgres.Key { return []postgres.Key{postgres.ByCreation} }
func byNameToo() []postgres.Key  { return []postgres.Key{postgres.ByCreation, postgres.ByName} }

// placed is the place of an item of such a list.
func placed(key postgres.Key, created time.Time, name, id string) place {
	if key == postgres.ByName {
		return place{Name: name, ID: id}
	}
	return at(created, 0, id)
}

// Created narrows a list to what was created between two instants, both exclusive; a zero one does not.
type Created = postgres.Created

// MandateState says what has become of a mandate.
type MandateState = postgres.MandateState

// MandateStates lists every state.
func MandateStates() []MandateState {
	return []MandateState{postgres.MandateActive, postgres.MandateScheduled, postgres.MandateExpired, postgres.MandateRevoked}
}

// KeyState says whether a key opens anything.
type KeyState = postgres.KeyState

// KeyStates lists every state.
func KeyStates() []KeyState {
	return []KeyState{postgres.KeyActive, postgres.KeyExpired, postgres.KeyRevoked}
}
