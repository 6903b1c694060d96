package signin_test

import "net/url"

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func escape(text string) string { return url.QueryEscape(text) }
