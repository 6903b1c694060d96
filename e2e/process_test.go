package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// process is one that runs on this machine.
type process struct {
	pid, parent int
	state       byte   // as in proc(5): T is stopped, Z has ended and nobody asked how
	started     string // tells it from a later one with the same id
	arguments   []string
}

// is reports whether the process is one of the stack's programs.
func (p process) is(name string) bool {
	if len(p.arguments) == 0 {
		return false
	}
	program := filepath.Base(p.arguments[0])
	switch name {
	case "envoy":
		return strings.HasPrefix(program, "envoy")
	case "postgres":
		return program == "postgres" && slices.Contains(p.arguments, "-D")
	default:
		return program == "caracal" && len(p.arguments) > 1 && p.arguments[1] == name
	}
}

// worksIn reports whether the process has the directory as its own, or names it in its arguments.
func (p process) worksIn(dir string) bool {
	if p.pid == os.Getpid() || p.state == 'Z' {
		return false
	}
	if at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid)); err == nil && strings.HasPrefix(at+"/", dir+"/.caracal/") {
		return true
	}
	return slices.ContainsFunc(p.arguments, func(argument string) bool { return strings.HasPrefix(argument, dir+"/.caracal/") })
}

// processes lists everything that runs, by id.
func processes() (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		all[pid] = p
	}
	return all, nil
}

func readProcess(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return process{}, err
	}
	// The name of the program stands in brackets and may hold anything; the fields count from behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	p := process{pid: pid, parent: parent, state: fields[0][0], started: fields[19]}
	if text := strings.TrimRight(string(line), "\x00"); text != "" {
		p.arguments = strings.Split(text, "\x00")
	}
	return p, nil
}

// below returns a process and everything that it started, directly or not.
func below(all map[int]process, root int) []process {
	var found []process
	if p, ok := all[root]; ok {
		found = append(found, p)
	}
	for _, p := range all {
		if p.parent == root {
			found = append(found, below(all, p.pid)...)
		}
	}
	return found
}
