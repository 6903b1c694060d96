package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long anything may take that is waited for.
const patience = 40 * time.Second

// stack is a `caracal dev` in a project directory of its own.
type stack struct {
	project  string
	ports    map[string]int // by the setting that chooses them
	settings []string       // beside the ports, as NAME=VALUE

	dev    *exec.Cmd
	exited chan struct{} // closed when dev has ended
	err    error         // how it ended
	noted  []process     // that have to be gone one day
}

// newStack makes a project directory ready: the demo's files, the program, and ports that are free.
func newStack(project string) (*stack, error) {
	s := &stack{project: project, ports: map[string]int{}}
	for _, setting := range []string{"CARACAL_DEV_CONTROL_PORT", "CARACAL_DEV_GATEWAY_PORT", "CARACAL_DEV_PROXY_PORT", "CARACAL_DEV_UPSTREAM_PORT"} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s.ports[setting] = port
	}
	if err := os.CopyFS(project+"/demo", os.DirFS("../demo")); err != nil {
		return nil, err
	}
	return s, os.Symlink(here.root+"/bin", project+"/bin")
}

// handedOut are the ports that tests of this process have, which run side by side.
var handedOut sync.Map

// freePort finds a port below those that the kernel gives to outgoing connections.
func freePort() (int, error) {
	for range 1000 {
		port := 12000 + rand.IntN(18000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("no port is free")
}

// environment is what a person's shell would have, and the ports.
func (s *stack) environment() []string {
	env := []string{"PATH=" + here.path, "HOME=" + s.project, "XDG_CACHE_HOME=" + here.root + "/cache", "LC_ALL=C.UTF-8"}
	if own := os.Getenv("CARACAL_ENVOY"); own != "" {
		env = append(env, "CARACAL_ENVOY="+own)
	}
	for setting, port := range s.ports {
		env = append(env, setting+"="+strconv.Itoa(port))
	}
	return append(env, s.settings...)
}

func (s *stack) environmentFile() string { return filepath.Join(s.project, ".caracal", "dev.env") }
func (s *stack) outputFile() string      { return filepath.Join(s.project, "dev.out") }

// launch starts dev and does not wait for it.
func (s *stack) launch(account string, settings ...string) error {
	if s.running() {
		return errors.New("the stack runs already")
	}
	output, err := os.OpenFile(s.outputFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	s.dev = exec.Command(filepath.Join(s.project, "bin", "caracal"), "dev")
	s.dev.Dir, s.dev.Env, s.dev.Stdout, s.dev.Stderr = s.project, append(s.environment(), settings...), output, output
	// A group of its own is what a terminal's foreground job has; the signal is for tests that end without cleaning up.
	s.dev.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if account != "" {
		if s.dev.SysProcAttr.Credential, err = s.hand(account); err != nil {
			return err
		}
	}
	return s.run(s.dev)
}

// run starts dev on a thread that lives as long as it does: the kernel sends the signal of a parent's death when the thread
// ends that started the child.
func (s *stack) run(dev *exec.Cmd) error {
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := dev.Start()
		started <- err
		if err == nil {
			s.err = dev.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.exited = exited
	return nil
}

// hand gives the project to an account. Who is not root has nobody to give it to, and is a plain user already.
func (s *stack) hand(account string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	found, err := user.Lookup(account)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(found.Uid)
	gid, gidErr := strconv.Atoi(found.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	err = filepath.WalkDir(s.project, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// start launches dev and waits until everything works.
func (s *stack) start(account string) error {
	if err := os.Remove(s.environmentFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.launch(account); err != nil {
		return err
	}
	return poll("the stack works", func() error {
		select {
		case <-s.exited:
			return final{fmt.Errorf("caracal dev ended: %w", s.err)}
		default:
		}
		_, err := os.Stat(s.environmentFile())
		return err
	})
}

func (s *stack) running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// interrupt is what Ctrl-C in a terminal does. Nothing may be left when dev has ended.
func (s *stack) interrupt() error {
	if err := s.note(); err != nil {
		return err
	}
	if err := syscall.Kill(-s.dev.Process.Pid, syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		return errors.New("caracal dev does not end after Ctrl-C")
	}
	if s.err != nil {
		return fmt.Errorf("caracal dev ended: %w", s.err)
	}
	return s.left()
}

// kill is kill -9 of dev alone.
func (s *stack) kill() error {
	if err := s.note(); err != nil {
		return err
	}
	if err := s.dev.Process.Kill(); err != nil {
		return err
	}
	<-s.exited
	return nil
}

// note remembers everything that runs in the stack now.
func (s *stack) note() error {
	all, err := processes()
	if err != nil {
		return err
	}
	s.noted = append(s.noted, below(all, s.dev.Process.Pid)...)
	return nil
}

// survivors are the processes of the stack that still run although they should not: those that were noted, and when dev
// has ended any other that works in the project's directory.
func (s *stack) survivors() ([]process, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	running := s.running()
	var survivors []process
	for _, p := range all {
		noted := slices.ContainsFunc(s.noted, func(n process) bool { return n.pid == p.pid && n.started == p.started })
		if p.state != 'Z' && (noted || !running && p.worksIn(s.project)) {
			survivors = append(survivors, p)
		}
	}
	return survivors, nil
}

// left is an error that names the survivors, where there are any.
func (s *stack) left() error {
	survivors, err := s.survivors()
	for _, p := range survivors {
		err = errors.Join(err, fmt.Errorf("still runs: %d %s", p.pid, strings.Join(p.arguments, " ")))
	}
	return err
}

// gone waits until nothing is left of what was noted.
func (s *stack) gone() error {
	if err := poll("the processes are gone", s.left); err != nil {
		return err
	}
	s.noted = nil
	return nil
}

// part finds a running program of the stack: dev, controlplane, gateway, envoy or postgres.
func (s *stack) part(name string) (process, error) {
	if !s.running() {
		return process{}, errors.New("the stack does not run")
	}
	all, err := processes()
	if err != nil {
		return process{}, err
	}
	for _, p := range below(all, s.dev.Process.Pid) {
		if p.state != 'Z' && p.is(name) {
			return p, nil
		}
	}
	return process{}, fmt.Errorf("no %s runs in the stack", name)
}

// signal sends a signal to one program and waits until it has taken effect. What dies, and all below it, is noted.
func (s *stack) signal(sig syscall.Signal, name string) error {
	p, err := s.part(name)
	if err != nil {
		return err
	}
	if sig == syscall.SIGKILL {
		all, err := processes()
		if err != nil {
			return err
		}
		s.noted = append(s.noted, below(all, p.pid)...)
	}
	if err := syscall.Kill(p.pid, sig); err != nil {
		return err
	}
	return poll(name+" takes the signal", func() error {
		now, err := readProcess(p.pid)
		switch {
		case sig == syscall.SIGKILL && (errors.Is(err, os.ErrNotExist) || now.state == 'Z' || now.started != p.started):
			return nil
		case err != nil:
			return err
		case sig == syscall.SIGSTOP && now.state != 'T':
			return errors.New("it still runs")
		case sig == syscall.SIGKILL:
			return errors.New("it still lives")
		}
		return nil
	})
}

// end makes sure that nothing of the stack outlives its test.
func (s *stack) end() {
	if s.running() {
		_ = s.note() // the directory still finds them
		_ = syscall.Kill(-s.dev.Process.Pid, syscall.SIGKILL)
		<-s.exited
	}
	survivors, _ := s.survivors() // it is the scripts that say when there may be none
	for _, p := range survivors {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// report is what a person would look at first when something went wrong.
func (s *stack) report() string {
	var b strings.Builder
	logs, _ := filepath.Glob(s.project + "/.caracal/logs/*.log") // the pattern is well formed
	for _, path := range append([]string{s.outputFile()}, logs...) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if most := 3000; len(text) > most {
			text = append([]byte("…"), text[len(text)-most:]...)
		}
		fmt.Fprintf(&b, "--- the end of %s\n%s\n", path, text)
	}
	return b.String()
}

// final is an error that waiting does not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// poll asks until there is no error, and returns the last one when patience ends.
func poll(what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for pause := 25 * time.Millisecond; ; pause = min(pause*3/2, time.Second/2) {
		err := ask()
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[final](err); ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s until %s: %w", patience, what, err)
		case <-time.After(pause):
		}
	}
}
