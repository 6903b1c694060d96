package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane"
)

// listed is the wire form of one page.
type listed[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

func toListed[T any](items []T, next string) listed[T] {
	l := listed[T]{Items: items}
	if items == nil {
		l.Items = []T{}
	}
	if next != "" {
		l.NextCursor = &next
	}
	return l
}

// list answers one page of a collection.
func list[F, T any](filter func(*query) F, method func(context.Context, controlplane.Caller, F, controlplane.Page) (controlplane.List[T], error)) operation {
	return func(x *exchange) (*reply, error) {
		q := readQuery(x.r.URL.RawQuery)
		f, page := filter(q), q.page()
		if err := x.within(q); err != nil {
			return nil, err
		}
		l, err := method(x.ctx(), x.caller, f, page)
		if err != nil {
			return nil, err
		}
		return &reply{status: http.StatusOK, body: toListed(l.Items, l.NextCursor)}, nil
	}
}

// listAll answers a collection that is small enough for one page.
func listAll[T any](method func(context.Context, controlplane.Caller) ([]T, error)) operation {
	return func(x *exchange) (*reply, error) {
		if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
			return nil, err
		}
		all, err := method(x.ctx(), x.caller)
		if err != nil {
			return nil, err
		}
		return &reply{status: http.StatusOK, body: toListed(all, "")}, nil
	}
}

// create makes a thing of the collection.
func create[In, Out any](method func(context.Context, controlplane.Caller, In) (controlplane.Written[Out], error)) operation {
	return func(x *exchange) (*reply, error) {
		var in In
		if err := x.decodeAt(&in); err != nil {
			return nil, err
		}
		if err := x.within(readQuery(x.r.URL.RawQuery)); err != nil {
			return nil, err
		}
		return tagged(written[Out](http.StatusCreated)(method(x.ctx(), x.caller, in)))
	}
}

// find answers one thing.
func find[ID ~string, Out any](method func(context.Context, controlplane.Caller, ID) (Out, error)) operation {
	return func(x *exchange) (*reply, error) {
		id, err := named[ID](x)
		if err != nil {
			return nil, err
		}
		thing, err := method(x.ctx(), x.caller, id)
		if err != nil {
			return nil, err
		}
		return x.unlessKnown(&reply{status: http.StatusOK, tag: controlplane.Tag(thing), body: thing})
	}
}

// change does to one thing what needs no further words.
func change[ID ~string, Out any](method func(context.Context, controlplane.Caller, ID) (controlplane.Written[Out], error)) operation {
	return func(x *exchange) (*reply, error) {
		id, err := named[ID](x)
		if err != nil {
			return nil, err
		}
		if err := x.decodeOptional(&struct{}{}); err != nil {
			return nil, err
		}
		return tagged(written[Out](http.StatusOK)(method(x.ctx(), x.caller, id)))
	}
}

// edit changes one thing as the body says.
func edit[ID ~string, In, Out any](method func(context.Context, controlplane.Caller, ID, In) (controlplane.Written[Out], error)) operation {
	return func(x *exchange) (*reply, error) {
		id, err := named[ID](x)
		if err != nil {
			return nil, err
		}
		var in In
		if err := x.decode(&in); err != nil {
			return nil, err
		}
		return tagged(written[Out](http.StatusOK)(method(x.ctx(), x.caller, id, in)))
	}
}

// written answers a change with the revision that holds it.
func written[Out any](status int) func(controlplane.Written[Out], error) (*reply, error) {
	return func(w controlplane.Written[Out], err error) (*reply, error) {
		if err != nil {
			return nil, err
		}
		return &reply{status: status, revision: w.Revision, body: w.Value}, nil
	}
}

// named is the id in the path, in whose workspace the caller then is. One that cannot be a name at all is answered like
// one that names nothing.
func named[ID ~string](x *exchange) (ID, error) {
	if err := readQuery(x.r.URL.RawQuery).end(); err != nil {
		return "", err
	}
	id := x.r.PathValue("id")
	if !oneLine(id) {
		return "", authority.NotFound("path")
	}
	return ID(id), x.enterHolding(id)
}

// within moves the caller into the workspace that the path or the query names, and checks that the query is read to its
// end.
func (x *exchange) within(q *query) error {
	slug := q.text("workspace_slug")
	if err := q.end(); err != nil {
		return err
	}
	if slug != "" {
		if err := x.enter(slug); err != nil {
			return err
		}
	}
	if strings.Contains(x.r.Pattern, "{workspace}") {
		return x.enter(x.r.PathValue("workspace"))
	}
	return nil
}

// decodeAt reads a body, which may name the workspace that it is about, and moves the caller there.
func (x *exchange) decodeAt(into any) error {
	var place struct {
		WorkspaceSlug given `json:"workspace_slug"`
	}
	if err := x.decode(into, &place); err != nil || !place.WorkspaceSlug.is {
		return err
	}
	if place.WorkspaceSlug.text == "" {
		return authority.Invalid("workspace_slug", "is empty: name a workspace, or leave it out")
	}
	return x.enter(place.WorkspaceSlug.text)
}

// enter moves the caller into a workspace. A request that names two is about none.
func (x *exchange) enter(slug string) error {
	if x.entered != "" && x.entered != slug {
		return authority.Invalid("workspace_slug", "names another workspace than the rest of the request")
	}
	caller, err := x.service.Enter(x.ctx(), x.caller, slug)
	if err != nil {
		return err
	}
	x.caller, x.entered = caller, slug
	return nil
}

// enterHolding moves the caller into that of its workspaces which holds what an id names.
func (x *exchange) enterHolding(id string) error {
	caller, err := x.service.EnterHolding(x.ctx(), x.caller, id)
	if err == nil {
		x.caller = caller
	}
	return err
}

// once marks what the caller writes with the Idempotency-Key of its request.
func once(x *exchange, caller controlplane.Caller) (controlplane.Caller, error) {
	keys := x.r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return caller, nil
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > 255 || strings.ContainsFunc(keys[0], func(r rune) bool { return r < '!' || r > '~' }) {
		return caller, authority.Invalid("Idempotency-Key", "must be given once, as 1 to 255 printable ASCII characters")
	}
	digest := sha256.New()
	for _, part := range []string{x.r.Method, x.r.URL.Path, x.r.URL.RawQuery, strings.Join(x.r.Header.Values("If-Match"), ",")} {
		digest.Write([]byte(part + "\x00"))
	}
	digest.Write(x.body)
	return caller.Once(keys[0], digest.Sum(nil)), nil
}
