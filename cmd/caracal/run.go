package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/launch"
)

// The exit statuses of `caracal run` beside those of the command that it runs.
const (
	exitRunFailed   exitStatus = 125
	exitNotRunnable exitStatus = 126
	exitNoCommand   exitStatus = 127
)

// ranError is how the command ended that was run: its exit status, said by itself.
type ranError struct{ status exitStatus }

func (e *ranError) Error() string { return fmt.Sprintf("the command ended with status %d", e.status) }

// notRunError is a failure on the way to the command, which did not begin.
type notRunError struct {
	error
	status exitStatus
}

func (e *notRunError) Unwrap() error { return e.error }

// governed is one run of a command under a mandate.
type governed struct {
	*program
	command *cobra.Command
	target  target
	gateway *client.Client // the agent's calls, which a gateway answers once it enforces them
	control *client.Client
	grant   grant
	issuer  string
	given   string // the mandate to use; empty for one of the run's own
	quiet   bool
	patient time.Duration

	around  launch.Surroundings
	mandate authority.Mandate
	began   time.Time // when the command did
}

// runSettings are those of `caracal run` beside those of every command that calls a control plane.
func runSettings() []setting {
	return []setting{
		{"proxy", "CARACAL_PROXY_URL", "http://127.0.0.1:3128", "the gateway's proxy port; what it says of a user is left out"},
		{"gateway", "CARACAL_GATEWAY_URL", "http://127.0.0.1:8443", "the gateway port, where the mandate and the token come from"},
		{"agent-key-file", "CARACAL_AGENT_API_KEY", "", "the key of the agent that the command is; that of the other commands unless told"},
		{"mandate", "CARACAL_MANDATE_ID", "", "the mandate to use, unless --resource and --action ask for one"},
		{"issuer", "CARACAL_ISSUER_ID", "", "who grants the mandate that is asked for; the agent itself unless told"},
	}
}

func (p *program) run() *cobra.Command {
	g := &governed{program: p}
	c := &cobra.Command{
		Use: "run [flags] -- COMMAND [ARGUMENT...]", Short: "Run a command as an agent, with its traffic governed by a mandate",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &notRunError{&usageError{"say which command to run: caracal run [flags] -- COMMAND [ARGUMENT...]"}, exitRunFailed}
			}
			return nil
		},
		Example: "  caracal run --resource 'host:example.com:443/*' --action read -- curl https://example.com/\n" +
			"  caracal run --mandate mdt_… -- pip install requests",
	}
	c.Flags().SetInterspersed(false)
	settings := append(clientSettings(), runSettings()...)
	values := p.bind(c, settings)
	c.Flags().StringSliceVar(&g.grant.resources, "resource", nil, "pattern that the command needs, such as api:external/openai; may be repeated")
	c.Flags().StringSliceVar(&g.grant.actions, "action", nil, "read, write, execute or *; may be repeated")
	spanFlag(c, &g.grant.validity, "validity", time.Hour, "how long the mandate that is asked for holds, and the command's token, "+seconds)
	c.Flags().StringVar(&g.around.Ungoverned, "no-proxy", "", "hosts that the command reaches without the gateway, with commas between: what goes there is not governed")
	c.Flags().BoolVar(&g.quiet, "quiet", false, "say nothing of what was allowed and denied")
	c.Flags().DurationVar(&g.patient, "wait", 15*time.Second, "how long to wait until the gateway is ready")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &notRunError{unknownFlag(c, err), exitRunFailed} })
	c.RunE = func(cmd *cobra.Command, args []string) error {
		g.command = cmd
		if err := g.configure(values); err != nil {
			return &notRunError{err, exitRunFailed}
		}
		return g.run(cmd.Context(), args)
	}
	return c
}

// configure reads the settings.
func (g *governed) configure(v *values) error {
	var err error
	if g.target, err = v.target(); err != nil {
		return err
	}
	key, err := v.secret("agent-key-file")
	if err != nil {
		return err
	}
	if key != "" {
		g.target.key = key
	}
	if g.target.key == "" {
		return &unauthenticatedError{"set CARACAL_AGENT_API_KEY or --agent-key-file: the key of the agent that the command is"}
	}
	if g.around.Proxy, err = launch.ParseProxy(v.text("proxy"), g.target.allowPlain); err != nil {
		return &usageError{err.Error() + ": use https or a gateway on this host, or CARACAL_ALLOW_PLAIN=true in a closed network"}
	}
	g.around.Gateway, g.issuer = v.text("gateway"), v.text("issuer")
	g.around.Secrets = []string{g.target.key, g.getenv("CARACAL_API_KEY"), g.getenv("ENTERPRISE_API_KEY")}
	if g.given, err = g.named(v); err != nil {
		return err
	}
	if g.control, err = g.target.connect(); err != nil {
		return err
	}
	at := g.target
	at.url = g.around.Gateway
	g.gateway, err = at.connect()
	return err
}

// named is the mandate to use. A scope on the command line asks for another one, whatever a variable says.
func (g *governed) named(v *values) (string, error) {
	_, flagged := v.flagged("mandate")
	asked := len(g.grant.resources) > 0 || len(g.grant.actions) > 0
	switch {
	case asked && flagged:
		return "", &usageError{"say either which mandate to use, or by --resource and --action what one has to cover"}
	case asked && (len(g.grant.resources) == 0 || len(g.grant.actions) == 0):
		return "", &usageError{"--resource and --action go together"}
	case asked:
		return "", nil
	case v.text("mandate") == "":
		return "", &usageError{"say by --resource and --action what the command may do, or by --mandate under which mandate"}
	}
	return v.text("mandate"), nil
}

// run finds the command, prepares what is around it, and ends what it began whatever becomes of it.
func (g *governed) run(ctx context.Context, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		status := exitNoCommand
		if errors.Is(err, fs.ErrPermission) {
			status = exitNotRunnable
		}
		return &notRunError{err, status}
	}
	if err := g.prepare(ctx); err != nil {
		g.finish()
		return &notRunError{err, exitRunFailed}
	}
	program := launch.Program{
		Path: path, Arguments: args[1:], Environment: g.around.Environment(os.Environ()),
		Stdin: g.stdin, Stdout: g.stdout, Stderr: g.stderr,
	}
	if terminal, err := os.Open("/dev/tty"); err == nil {
		defer terminal.Close()
		program.Terminal = terminal
	}
	g.began = time.Now()
	status, err := program.Run(ctx)
	g.finish()
	if err != nil {
		return &notRunError{err, exitNotRunnable}
	}
	if status != 0 {
		return &ranError{exitStatus(status)}
	}
	return nil
}

// prepare waits for the gateway, and gets from it what the command is to have.
func (g *governed) prepare(ctx context.Context) error {
	if err := g.await(ctx); err != nil {
		return err
	}
	if err := g.authorise(ctx); err != nil {
		at := g.target
		at.url = g.around.Gateway
		return &callError{err, at}
	}
	ca, err := g.gateway.InspectionCA(ctx)
	if err != nil {
		return fmt.Errorf("asking what the gateway's certificates chain to: %w", err)
	}
	return g.around.Write(os.Environ(), []byte(ca.Certificate))
}

// await waits until the gateway says that it is ready and its proxy port answers.
func (g *governed) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.patient)
	defer cancel()
	for {
		last := g.look(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return fmt.Errorf("the gateway at %s was not ready within %s: %w", g.around.Gateway, g.patient, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (g *governed) look(ctx context.Context) error {
	probed, err := g.gateway.Probe(ctx, "/ready")
	if err != nil {
		return err
	}
	if probed.Status != 200 {
		return fmt.Errorf("it answers %d: %s", probed.Status, clipped(probed.Body))
	}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", g.around.Proxy.Host)
	if err != nil {
		return fmt.Errorf("its proxy port: %w", err)
	}
	return connection.Close()
}

// clipped is the beginning of an answer, for a message.
func clipped(body []byte) string {
	const most = 300
	return printable(string(body[:min(len(body), most)]))
}

// finish ends the mandate and tells what was done under it. It goes on when it is interrupted, but does not wait any more.
func (g *governed) finish() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	g.end(ctx)
	if !g.quiet && !g.began.IsZero() {
		g.report(ctx)
	}
	if g.around.Files.Directory != "" {
		if err := g.around.Files.Remove(); err != nil {
			g.tell("the command's certificates are not removed: %v", err)
		}
	}
}

// tell says something beside what the command writes.
func (g *governed) tell(format string, args ...any) {
	fmt.Fprintf(g.stderr, "caracal run: %s\n", printable(fmt.Sprintf(format, args...)))
}
