package gateway

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheLogFollowsTheStatus(t *testing.T) {
	var log bytes.Buffer
	envoys := verdict{}
	s := newState(time.Minute, time.Now, func() verdict { return envoys }, slog.New(slog.NewJSONHandler(&log, nil)))
	s.Log()
	s.connected()
	s.enforce("one", 7, 2)
	s.envoyAnswered() // nothing that changes the status
	envoys = verdict{current: true, forwards: true}
	s.envoyAnswered()
	s.envoyAnswered()

	var got []Status
	for lines := json.NewDecoder(&log); lines.More(); {
		var line struct {
			Status Status `json:"status"`
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Status)
	}
	if diff := cmp.Diff([]Status{StatusFenced, StatusFenced, StatusFenced, StatusOK}, got); diff != "" {
		t.Errorf("the logged states are wrong (-want +got):\n%s", diff)
	}
}
