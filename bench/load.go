package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/caracal-gateway/caracal/envoy"
)

// shape is how a load is put: how many connections, and how many checks wait on each.
type shape struct{ connections, outstanding int }

func (s shape) String() string { return fmt.Sprintf("%d×%d", s.connections, s.outstanding) }

// measured is what one load found.
type measured struct {
	decisions int
	took      time.Duration
	cpu       time.Duration // of the service
	latencies []time.Duration
}

// perCore is how many decisions the service makes in a second of one core's time.
func (m measured) perCore() float64 { return float64(m.decisions) / m.cpu.Seconds() }

func (m measured) rate() float64 { return float64(m.decisions) / m.took.Seconds() }

// quantile of the latencies, which are ordered.
func (m measured) quantile(q float64) time.Duration {
	if len(m.latencies) == 0 {
		return 0
	}
	return m.latencies[min(len(m.latencies)-1, int(q*float64(len(m.latencies))))]
}

// asIs carries messages that are encoded already, so that the client's own work is small.
type asIs struct{}

func (asIs) Name() string { return "proto" }

func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize() //nolint:misspell // its name
	return nil
}

func connectTo(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(asIs{})))
}

// ask puts a check as Envoy does for a request to the gateway port.
func ask(ctx context.Context, to *grpc.ClientConn, check []byte) ([]byte, error) {
	var answer []byte
	ctx = metadata.AppendToOutgoingContext(ctx, envoy.ModeKey, envoy.ModeGateway)
	err := to.Invoke(ctx, authv3.Authorization_Check_FullMethodName, &check, &answer)
	return answer, err
}

// agree asks about every call once, and fails where a service judges one differently than the scenario says: what is
// compared has to do the same work.
func agree(ctx context.Context, socket string, checks [][]byte, calls []call) error {
	to, err := connectTo(socket)
	if err != nil {
		return err
	}
	defer to.Close()
	for i, check := range checks {
		answer, err := ask(ctx, to, check)
		if err != nil {
			return fmt.Errorf("ask about call %d: %w", i, err)
		}
		var decoded authv3.CheckResponse
		if err := proto.Unmarshal(answer, &decoded); err != nil {
			return fmt.Errorf("read the answer to call %d: %w", i, err)
		}
		if allowed := codes.Code(decoded.GetStatus().GetCode()) == codes.OK; allowed != calls[i].Allowed {
			return fmt.Errorf("call %d is allowed: %t; the scenario says %t: %v", i, allowed, calls[i].Allowed, decoded.GetDeniedResponse())
		}
	}
	return nil
}

// drive asks for a while, each connection with as many checks under way as the shape says, and gives what came of it.
func drive(ctx context.Context, at service, checks [][]byte, s shape, lasting time.Duration) (measured, error) {
	running, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var (
		group   sync.WaitGroup
		next    atomic.Int64
		mu      sync.Mutex // guards m and failed
		m       measured
		failed  error
		started = time.Now()
	)
	before, err := at.cpu()
	if err != nil {
		return m, err
	}
	for range s.connections {
		to, err := connectTo(at.socket)
		if err != nil {
			return m, err
		}
		defer to.Close()
		for range s.outstanding {
			group.Go(func() {
				own, err := driveOne(running, to, checks, &next)
				mu.Lock()
				defer mu.Unlock()
				m.latencies, failed = append(m.latencies, own...), errors.Join(failed, err)
			})
		}
	}
	group.Wait()
	m.took = time.Since(started)
	after, err := at.cpu()
	m.cpu, m.decisions = after-before, len(m.latencies)
	slices.Sort(m.latencies)
	return m, errors.Join(failed, err, ctx.Err())
}

func driveOne(ctx context.Context, to *grpc.ClientConn, checks [][]byte, next *atomic.Int64) ([]time.Duration, error) {
	var own []time.Duration
	for {
		check := checks[int(next.Add(1))%len(checks)]
		asked := time.Now()
		_, err := ask(ctx, to, check)
		switch {
		case ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded:
			return own, nil //nolint:nilerr // the time of the load is over
		case err != nil:
			return own, err
		}
		own = append(own, time.Since(asked))
	}
}
