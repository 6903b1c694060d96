package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// cutOff breaks the line of a gateway to the control plane, in some directions.
func cutOff(gateway int, directions ...string) fault {
	return fault{
		name: fmt.Sprintf("gateway %d is cut off %v", gateway, directions),
		put: func(_ context.Context, s *site) error {
			var err error
			for _, d := range directions {
				err = errors.Join(err, s.toControl[gateway].cut(d))
			}
			return err
		},
		mend: func(_ context.Context, s *site) error { s.toControl[gateway].mend(); return nil },
	}
}

func slowLine(gateway int) fault {
	return fault{
		name: fmt.Sprintf("gateway %d has a slow line", gateway),
		put:  func(_ context.Context, s *site) error { return s.toControl[gateway].slow() },
		mend: func(_ context.Context, s *site) error { s.toControl[gateway].mend(); return nil },
	}
}

// frozen stops a gateway's process for as long as the fault lasts, longer than its lease.
func frozen(gateway int) fault {
	return fault{
		name: fmt.Sprintf("gateway %d is frozen", gateway),
		put:  func(_ context.Context, s *site) error { return s.gateways[gateway].signal(syscall.SIGSTOP) },
		mend: func(_ context.Context, s *site) error { return s.gateways[gateway].signal(syscall.SIGCONT) },
	}
}

// killed ends a gateway, which is started again at once and may go on within its lease.
func killed(gateway int) fault {
	return fault{
		name: fmt.Sprintf("gateway %d is killed", gateway),
		put: func(_ context.Context, s *site) error {
			return errors.Join(s.gateways[gateway].kill(), s.gateways[gateway].start())
		},
		mend: func(context.Context, *site) error { return nil },
	}
}

func controlFrozen(replica int) fault {
	return fault{
		name: fmt.Sprintf("control plane %d is frozen", replica),
		put:  func(_ context.Context, s *site) error { return s.controls[replica].signal(syscall.SIGSTOP) },
		mend: func(_ context.Context, s *site) error { return s.controls[replica].signal(syscall.SIGCONT) },
	}
}

func controlKilled(replica int) fault {
	return fault{
		name: fmt.Sprintf("control plane %d is killed", replica),
		put: func(ctx context.Context, s *site) error {
			return errors.Join(s.controls[replica].kill(), s.controls[replica].start())
		},
		mend: func(ctx context.Context, s *site) error {
			return s.controls[replica].await(ctx, s.urls[replica]+"/ready")
		},
	}
}

// withoutData cuts a control plane off from the database.
func withoutData(replica int) fault {
	return fault{
		name: fmt.Sprintf("control plane %d does not reach the database", replica),
		put: func(_ context.Context, s *site) error {
			return errors.Join(s.toData[replica].cut(outward), s.toData[replica].cut(inward))
		},
		mend: func(ctx context.Context, s *site) error {
			s.toData[replica].mend()
			return s.controls[replica].await(ctx, s.urls[replica]+"/ready")
		},
	}
}

func databaseRestarts() fault {
	return fault{
		name: "the database restarts",
		put:  func(ctx context.Context, s *site) error { return s.restartDatabase(ctx) },
		mend: func(context.Context, *site) error { return nil },
	}
}

func redisKilled(t *testing.T) fault {
	return fault{
		name: "Redis is killed",
		put:  func(_ context.Context, s *site) error { s.redis.Kill(t); return nil },
		mend: func(_ context.Context, s *site) error { s.redis.Start(t); return nil },
	}
}

// TestRevocation is the first promise, on real processes.
func TestRevocation(t *testing.T) {
	s := newSite(t, build(t, ""))
	for _, c := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"no permit after the receipt", noPermitAfterTheReceipt},
		{"every kind of stream ends with its mandate", everyKindEnds},
		{"only the right streams of one connection end", onlyTheRightOnesEnd},
		{"two thousand streams end together", manyEndTogether},
		{"streams end with their gateway", endWithTheirGateway},
		{"a gateway that stopped in order is not waited for", stoppedInOrder},
		{"a revocation through a gateway holds there", throughAGateway},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// noPermitAfterTheReceipt plays a round under each of the faults.
func noPermitAfterTheReceipt(t *testing.T, s *site) {
	for _, faults := range [][]fault{
		{},
		{cutOff(0, outward, inward), cutOff(1, outward), frozen(2)},
		{cutOff(0, inward), killed(1), slowLine(2)},
		{controlKilled(0), redisKilled(t)},
		{databaseRestarts()},
		{controlFrozen(1)},
		{withoutData(0)},
	} {
		name := "without a fault"
		for i, f := range faults {
			if name = name + ", " + f.name; i == 0 {
				name = f.name
			}
		}
		t.Run(name, func(t *testing.T) {
			if err := s.round(t.Context(), t, 2, faults...); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRandomFaults goes on for a while with faults from a seed. It is one of the long tests.
func TestRandomFaults(t *testing.T) {
	if os.Getenv("CARACAL_DEEP") == "" {
		t.Skip("a long test: make test-deep runs it")
	}
	seed := uint64(time.Now().UnixNano())
	if own := os.Getenv("CARACAL_SEED"); own != "" {
		var err error
		if seed, err = strconv.ParseUint(own, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CARACAL_SEED=%d repeats the choice of faults", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, build(t, ""))
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); {
		var faults []fault
		for g := range gateways {
			all := []fault{cutOff(g, outward, inward), cutOff(g, outward), cutOff(g, inward), slowLine(g), frozen(g), killed(g)}
			if random.IntN(2) == 0 {
				faults = append(faults, all[random.IntN(len(all))])
			}
		}
		replica := random.IntN(replicas)
		all := []fault{controlFrozen(replica), controlKilled(replica), withoutData(replica), databaseRestarts(), redisKilled(t)}
		if random.IntN(2) == 0 {
			faults = append(faults, all[random.IntN(len(all))])
		}
		for _, f := range faults {
			t.Log(f.name)
		}
		if err := s.round(t.Context(), t, 3, faults...); err != nil {
			t.Fatal(err)
		}
	}
}
