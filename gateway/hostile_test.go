package gateway_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/bundle"
	"github.com/caracal-gateway/caracal/internal/syncpb"
)

func TestAGatewayStopsThoughItsControlPlaneHangs(t *testing.T) {
	silent := func(stream syncpb.Sync_StreamServer) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	for sentence, hang := range map[string]func(*rig){
		"before a word is spoken": func(r *rig) {
			r.control.down()
			var listener net.Listener
			eventually(r.t, "the port is free", func() (free bool) {
				var err error
				listener, err = net.Listen("tcp", r.control.address)
				return err == nil
			})
			r.t.Cleanup(func() { _ = listener.Close() })
		},
		"before its challenge": func(r *rig) { r.control.speak(silent) },
		"at the goodbye": func(r *rig) {
			r.control.speak(func(stream syncpb.Sync_StreamServer) error {
				if err := r.control.greet(stream); err != nil {
					return err
				}
				return silent(stream)
			})
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			hang(r)
			g := r.start()
			r.health(isOK, "health")
			g.cancel()
			if err := g.wait(t); err != nil {
				t.Errorf("stopping: %v", err)
			}
		})
	}
}

func TestATimeThatAnswersNoQuestionIsNoTime(t *testing.T) {
	r := newRig(t)
	sealed := r.world.Seal()
	var answered atomic.Int64
	longAgo := timestamppb.New(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	current := func(id uint64) *syncpb.ControlMessage_Current {
		return &syncpb.ControlMessage_Current{Current: &syncpb.Current{Id: id, Revision: sealed.Revision()}}
	}
	r.control.speak(func(stream syncpb.Sync_StreamServer) error {
		if err := r.control.greet(stream); err != nil {
			return err
		}
		sent := pieces(sealed)
		for _, piece := range sent {
			piece.Time = longAgo
		}
		sent = append(sent, &syncpb.ControlMessage{Time: longAgo, Message: current(0)}, &syncpb.ControlMessage{Time: longAgo, Message: current(1 << 40)})
		for {
			for _, m := range sent {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
			m, err := stream.Recv()
			if err != nil {
				return err
			}
			if m.GetSync() != nil {
				answered.Add(1)
			}
			sent = []*syncpb.ControlMessage{{Message: current(m.GetSync().GetId())}} // without a time
			sent = append(sent, r.control.lessor.hear(m)...)
		}
	})
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	r.health(func(a answer) bool {
		return strings.Contains(a.body, fmt.Sprintf(`"last_sync":"%d-`, time.Now().UTC().Year()))
	}, "the present year")
	eventually(t, "several answers", func() bool { return answered.Load() >= 3 })
	if got, err := r.proxy("/"); err != nil || got.status != http.StatusOK {
		t.Errorf("a call is answered %d %s (%v)", got.status, got.body, err)
	}
}

func TestAMessageBeyondAllBoundsIsNotTaken(t *testing.T) {
	r := newRig(t)
	r.control.speak(func(stream syncpb.Sync_StreamServer) error {
		if err := r.control.greet(stream); err != nil {
			return err
		}
		return stream.Send(&syncpb.ControlMessage{Message: &syncpb.ControlMessage_Bundle{Bundle: &syncpb.Bundle{Sealed: make([]byte, bundle.MaxDelta+1<<20)}}})
	})
	r.start()
	r.health(isOK, "health")
	eventually(t, "the log tells why", func() bool { return strings.Contains(r.log.String(), "received message larger than max") })
	r.control.speak(nil)
	r.until("proxied call under a good control plane", func() (answer, error) { return r.proxy("/") }, isOK)
}

func TestAGatewayLeavesTheControlPlaneOnlyWhenItsEnvoyIsGone(t *testing.T) {
	r := newRig(t)
	// An Envoy that takes its time to end.
	script := "#!/bin/sh\n" + envoyBinary(t) + ` "$@" &
envoy=$!
trap 'sleep 1; kill -TERM $envoy; wait $envoy; exit 0' TERM
wait $envoy
`
	r.envoy = filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(r.envoy, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	served := make(chan bool, 1)
	r.control.onLeave = func() {
		connection, err := net.Dial("tcp", r.listen.String())
		if err == nil {
			_ = connection.Close()
		}
		served <- err == nil
	}
	g := r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case late := <-served:
		if late {
			t.Error("the gateway had left, so that no revocation waited for it, and still served")
		}
	default:
		t.Error("the gateway did not leave in order")
	}
}

func TestABundleThatCannotBeKeptLeavesNoOlderOneBehind(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("proxied call", func() (answer, error) { return r.proxy("/") }, isOK)
	kept := filepath.Join(r.stateDir, "bundle")
	if _, err := os.Stat(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(kept+".next", 0o700); err != nil { // in the way of writing
		t.Fatal(err)
	}
	r.world.Revoke(r.world.Mandate.ID)
	r.world.State.Revision++
	r.control.push(r.world.Seal())
	eventually(t, "the revocation is acknowledged", func() bool { return r.control.acknowledged() == r.world.State.Revision })
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle from before the revocation is still kept (%v)", err)
	}
}

func TestABundleIsEnforcedAndAcknowledgedWhileEnvoyIsAway(t *testing.T) {
	r := newRig(t)
	flag := filepath.Join(t.TempDir(), "let-envoy-run")
	r.envoy = flag + ".sh"
	script := "#!/bin/sh\n[ -e " + flag + " ] || exit 1\nexec " + envoyBinary(t) + ` "$@"` + "\n"
	if err := os.WriteFile(r.envoy, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r.start()
	eventually(t, "the first bundle is acknowledged", func() bool { return r.control.acknowledged() == r.world.State.Revision })
	r.world.Revoke(r.world.Mandate.ID)
	r.world.State.Revision++
	r.control.push(r.world.Seal())
	eventually(t, "the revocation is acknowledged", func() bool { return r.control.acknowledged() == r.world.State.Revision })
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	denied := r.until("Envoy comes", func() (answer, error) { return r.proxy("/") }, func(a answer) bool { return a.status != http.StatusServiceUnavailable })
	wantDenied(t, denied, http.StatusForbidden, authority.ReasonMandateRevoked)
	r.health(func(a answer) bool { return strings.HasPrefix(a.body, `{"status":"ok"`) }, "all is well")
}
