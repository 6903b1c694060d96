package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Filter narrows a list; its names are those of the parameters in the OpenAPI document.
type Filter map[string]string

func (f Filter) values() url.Values {
	values := url.Values{}
	for name, value := range f {
		if value != "" {
			values.Set(name, value)
		}
	}
	return values
}

type page[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// list follows the pages of a collection until it has limit items; 0 means all.
func list[T any](ctx context.Context, c *Client, name string, f Filter, limit int) ([]T, error) {
	values := f.values()
	all := []T{}
	for {
		if values.Set("limit", strconv.Itoa(pageSize)); limit > 0 {
			values.Set("limit", strconv.Itoa(min(pageSize, limit-len(all))))
		}
		next, err := call[page[T]](ctx, c, http.MethodGet, c.collection(name)+"?"+values.Encode(), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, next.Items...)
		if next.NextCursor == nil || limit > 0 && len(all) >= limit {
			return all, nil
		}
		values.Set("cursor", *next.NextCursor)
	}
}
