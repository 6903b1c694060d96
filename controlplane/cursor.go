package controlplane

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

const (
	cursorTag = 16 // bytes
	maxCursor = 512
)

// place is where a page ends: the last item's order and id.
type place struct {
	Micros   int64  `json:"t"`
	Sequence int64  `json:"s,omitempty"`
	ID       string `json:"i"`
}

func at(t time.Time, sequence int64, id string) place {
	return place{Micros: t.UnixMicro(), Sequence: sequence, ID: id}
}

// page reads a page request. A cursor is good for the list of the workspace that gave it.
func (s *Service) page(c Caller, op operation, p Page) (postgres.Page, error) {
	limit := p.Limit
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 1 || limit > MaxPage {
		return postgres.Page{}, authority.Invalid("limit", "is 1 to %d", MaxPage)
	}
	// One more than is shown tells whether there is a next page.
	page := postgres.Page{Size: int32(limit + 1)}
	if p.Cursor == "" {
		return page, nil
	}
	invalid := authority.Invalid("cursor", "is not a next_cursor of this list")
	if len(p.Cursor) > maxCursor {
		return page, invalid
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(raw) <= cursorTag {
		return page, invalid
	}
	tag, text := raw[:cursorTag], raw[cursorTag:]
	if !hmac.Equal(tag, s.cursorMAC(c, op, text)) {
		return page, invalid
	}
	var last place
	if err := json.Unmarshal(text, &last); err != nil {
		return page, invalid
	}
	page.AfterTime, page.AfterSequence, page.AfterID = time.UnixMicro(last.Micros).UTC(), last.Sequence, last.ID
	return page, nil
}

func (s *Service) cursorMAC(c Caller, op operation, text []byte) []byte {
	mac := hmac.New(sha256.New, s.cursorKey)
	mac.Write([]byte(string(c.workspace) + "\x00" + op.name + "\x00"))
	mac.Write(text)
	return mac.Sum(nil)[:cursorTag]
}

// list reads one page of a list through the choke point.
func list[T any](ctx context.Context, s *Service, c Caller, op operation, p Page, look func(context.Context, *postgres.Tx, postgres.Page) ([]T, error), end func(T) place) (List[T], error) {
	page, err := s.page(c, op, p)
	if err != nil {
		return List[T]{}, err
	}
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (List[T], error) {
		items, err := look(ctx, tx, page)
		if err != nil {
			return List[T]{}, err
		}
		shown := int(page.Size) - 1
		if len(items) <= shown {
			return List[T]{Items: items}, nil
		}
		text, err := json.Marshal(end(items[shown-1]))
		if err != nil {
			return List[T]{}, err
		}
		cursor := base64.RawURLEncoding.EncodeToString(append(s.cursorMAC(c, op, text), text...))
		return List[T]{Items: items[:shown], NextCursor: cursor}, nil
	})
}
