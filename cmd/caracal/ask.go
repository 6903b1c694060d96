package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// onTerminal reports whether a person sees or types it.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours reports whether a stream shows colours: a terminal that can, and a person who has not said no
// (https://no-color.org).
func (p *program) colours(stream any) bool {
	return onTerminal(stream) && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb" //nolint:misspell // it is called so
}

// confirm asks a person before something is lost. Where nobody can be asked, --yes has to say so.
func (c *call) confirm(ctx context.Context, what string) error {
	return c.program.confirm(ctx, c.command.Flag("yes").Value.String() == "true", what)
}

func (p *program) confirm(ctx context.Context, yes bool, what string) error {
	if yes {
		return nil
	}
	if !onTerminal(p.stdin) {
		return &usageError{"say --yes, since nobody can be asked here: " + what}
	}
	fmt.Fprintf(p.stderr, "%s. Go on? [y/N] ", printable(what))
	answer, err := p.line(ctx)
	if err != nil {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errDeclined
	}
	return nil
}

var errDeclined = errors.New("nothing was changed")

// declined reports whether a person was asked and said no.
func declined(err error) bool { return errors.Is(err, errDeclined) }

// line reads one line from standard input. It does not wait beyond ctx.
func (p *program) line(ctx context.Context) (string, error) {
	type read struct {
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		text, err := bufio.NewReader(p.stdin).ReadString('\n')
		if errors.Is(err, io.EOF) && text != "" {
			err = nil
		}
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		if r.err != nil {
			return "", fmt.Errorf("reading the answer: %w", r.err)
		}
		return r.text, nil
	}
}

// askSecret reads a secret without showing it, or from what is piped in.
func (p *program) askSecret(ctx context.Context, prompt string) (string, error) {
	if !onTerminal(p.stdin) {
		text, err := io.ReadAll(io.LimitReader(p.stdin, 1<<16))
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", prompt, err)
		}
		return strings.TrimSpace(string(text)), nil
	}
	fmt.Fprintf(p.stderr, "%s: ", prompt)
	fd := int(p.stdin.(*os.File).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", prompt, err)
	}
	type read struct {
		text []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before) // or the shell would show nothing that is typed
		return "", ctx.Err()
	case r := <-done:
		fmt.Fprintln(p.stderr)
		if r.err != nil {
			return "", fmt.Errorf("reading %s: %w", prompt, r.err)
		}
		return strings.TrimSpace(string(r.text)), nil
	}
}
