package api

import "net/http"

// accepting lets a change of the catalog say in accept_changes which report it accepts.
func accepting(do operation) operation {
	return func(x *exchange) (*reply, error) {
		q := readQuery(x.r.URL.RawQuery)
		digest := q.text("accept_changes")
		if q.err != nil {
			return nil, q.err
		}
		x.caller = x.caller.Accepting(digest)
		delete(q.values, "accept_changes")
		r := new(http.Request)
		*r = *x.r
		url := *x.r.URL
		url.RawQuery = q.values.Encode()
		r.URL = &url
		x.r = r
		return do(x)
	}
}
