package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/caracal-gateway/caracal/client"
)

// gatewayProcess is the real program. It starts no Envoy: the bench asks its decision service, or starts one.
type gatewayProcess struct {
	dir     string
	command *exec.Cmd
}

func (g gatewayProcess) authz() string { return filepath.Join(g.dir, "run", "authz.sock") }

// startGateway starts one with the gateway port at an address. Further settings may follow, such as where its proxy port is.
func (s *site) startGateway(ctx context.Context, caracal, name, listen string, settings ...string) (gatewayProcess, error) {
	g := gatewayProcess{dir: s.file(name)}
	log, err := os.Create(g.dir + ".log")
	if err != nil {
		return g, err
	}
	defer log.Close()
	g.command = exec.CommandContext(context.WithoutCancel(ctx), caracal, "gateway") // it is stopped in order
	g.command.Stdout, g.command.Stderr = log, log
	g.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.command.Env = append(os.Environ(), "ENTERPRISE_URL="+s.url, "ENTERPRISE_API_KEY="+s.gatewayKey, "ENTERPRISE_WORKSPACE="+slug,
		"CARACAL_STATE_DIR="+g.dir, "CARACAL_INSTANCE="+name, "CARACAL_OWN_ENVOY=true", "CARACAL_LISTEN="+listen, "CARACAL_PROXY_LISTEN=off", "CARACAL_LOG_LEVEL=warn")
	g.command.Env = append(g.command.Env, settings...) // the last of a name counts
	return g, g.command.Start()
}

// stop ends the gateway in order, so that no revocation waits for it.
func (g gatewayProcess) stop() {
	_ = g.command.Process.Signal(syscall.SIGTERM)
	_ = g.command.Wait() // how it ended is of no interest
}

// revokeUnderLoad prints the row of processes that decide while revocations run.
func (s *site) revokeUnderLoad(ctx context.Context, out io.Writer, caracal string, size, rate, revocations int) error {
	began := time.Now()
	var all []gatewayProcess
	defer func() {
		for _, g := range all {
			g.stop()
		}
	}()
	for n := range size {
		listen, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		g, err := s.startGateway(ctx, caracal, fmt.Sprintf("gateway-%d", n), listen)
		if err != nil {
			return err
		}
		all = append(all, g)
	}
	if err := s.inSync(ctx, size); err != nil {
		return err
	}
	took := time.Since(began)
	own, err := s.call(ctx)
	if err != nil {
		return err
	}
	check, err := own.check(true)
	if err != nil {
		return err
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	asked := make(chan load, len(all))
	for _, g := range all {
		go func() { asked <- keepAsking(asking, g.authz(), check, rate) }()
	}
	if err := s.settle(ctx, size); err != nil {
		return err
	}
	found, err := s.revocations(ctx, revocations)
	if err != nil {
		return err
	}
	stop()
	var whole load
	for range all {
		one := <-asked
		whole.answered, whole.lasting, whole.err = whole.answered+one.answered, one.lasting, errors.Join(whole.err, one.err)
	}
	fmt.Fprintf(out, "| %d processes, %.0f decisions/s together | %s | | | | %s | %s |\n",
		size, float64(whole.answered)/whole.lasting.Seconds(), took.Round(time.Millisecond), at(found, 50), at(found, 99))
	return whole.err
}

// inSync waits until so many gateways enforce the present state.
func (s *site) inSync(ctx context.Context, size int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		known, err := s.owner.Gateways(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for _, g := range known {
			if g.State == client.GatewayInSync {
				ready++
			}
		}
		if ready >= size {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d gateways are in sync: %w", ready, size, ctx.Err())
		}
	}
}

// call is a request of the site's agent, within a mandate of its own.
func (s *site) call(ctx context.Context) (call, error) {
	m, err := s.issue(ctx)
	if err != nil {
		return call{}, err
	}
	as, err := client.New(client.Config{URL: s.url, Key: s.agentKey, Workspace: slug})
	if err != nil {
		return call{}, err
	}
	token, err := as.Token(ctx)
	return call{
		Agent: s.agentID, Token: token.AccessToken, Mandate: m.ID, Method: "GET", URL: fmt.Sprintf("http://%s:%d/tools/search", scenarioHost, scenarioPort),
	}, err
}

// load is what one gateway was asked.
type load struct {
	answered int
	lasting  time.Duration
	err      error
}

// keepAsking asks a gateway so many times a second until ctx ends.
func keepAsking(ctx context.Context, socket string, check []byte, rate int) (l load) {
	began := time.Now()
	defer func() { l.lasting = time.Since(began) }()
	var to *grpc.ClientConn
	if to, l.err = connectTo(socket); l.err != nil {
		return l
	}
	defer to.Close()
	next := time.NewTicker(time.Second / time.Duration(rate))
	defer next.Stop()
	for {
		if _, err := ask(ctx, to, check); err != nil && ctx.Err() == nil {
			l.err = err
			return l
		}
		l.answered++
		select {
		case <-next.C:
		case <-ctx.Done():
			return l
		}
	}
}
