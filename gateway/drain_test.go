package gateway

import "testing"

func TestRequestsUnderWayAreCountedApartFromTheQuestionItself(t *testing.T) {
	for stats, want := range map[string]uint64{
		"":                                     0,
		"http.admin.downstream_rq_active: 1\n": 0,
		"http.admin.downstream_rq_active: 1\nhttp.gateway.downstream_rq_active: 3\n":       3,
		"http.a.downstream_rq_active: 2\nhttp.b.downstream_rq_active: 5\n":                 7,
		"http.a.downstream_rq_active: many\nlistener.x.http.a.downstream_rq_active: 9\n":   0,
		"http.a.downstream_rq_active_max: 4\nhttp.a.downstream_rq_active_of_the_day: 12\n": 0,
	} {
		if got := active(stats); got != want {
			t.Errorf("%q is %d requests, want %d", stats, got, want)
		}
	}
}
