package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/caracal-gateway/caracal/client"
	"github.com/caracal-gateway/caracal/client/contexts"
)

// target is which control plane a command calls, as whom and in which workspace, and where each of it was said.
type target struct {
	url, workspace, key string
	caFile              string
	ca                  []byte
	allowPlain          bool
	context             string // name of the context in use; empty without one
	from                map[string]string
	foreign             string // a context whose key is not used, because it is for another control plane
}

// target reads the settings of a command. What is not said by a flag comes from the context that --context names, else from
// a variable, else from the context in use, else from the fallback. A context's key goes to the context's own control plane
// and to no other.
func (v *values) target() (target, error) {
	t := target{from: map[string]string{}}
	chosen, named, err := v.chosenContext()
	if err != nil {
		return t, err
	}
	pick := func(flag, kept string) string {
		s := v.of(flag)
		value, flagged := v.flagged(flag)
		variable := v.getenv(s.variable)
		switch {
		case flagged:
			t.from[flag] = "--" + flag
		case kept != "" && (named || variable == ""):
			t.from[flag], value = "the context "+chosen.Name, kept
		case variable != "":
			t.from[flag], value = s.variable, variable
		default:
			t.from[flag], value = "the default", s.fallback
		}
		return value
	}
	if t.url = pick("url", chosen.URL); !sameServer(t.url, chosen.URL) {
		t.foreign, chosen = chosen.Name, contexts.Context{}
	}
	t.context = chosen.Name
	t.workspace, t.caFile = pick("workspace", chosen.Workspace), pick("ca-file", chosen.CAFile)
	plain := ""
	if chosen.AllowPlain {
		plain = "true"
	}
	if t.allowPlain, err = strconv.ParseBool(pick("allow-plain", plain)); err != nil {
		return t, &usageError{t.from["allow-plain"] + " must be true or false"}
	}
	if t.key = pick("api-key-file", chosen.Key); t.from["api-key-file"] == "--api-key-file" {
		if t.key, err = v.secret("api-key-file"); err != nil {
			return t, err
		}
	}
	if t.caFile != "" {
		if t.ca, err = v.readFile(t.caFile); err != nil {
			return t, fmt.Errorf("reading the CA file of %s: %w", t.from["ca-file"], err)
		}
	}
	return t, nil
}

// chosenContext is the context in use, and whether a flag names it. Where flags and variables say everything, and none is
// named, none is looked for: a file that cannot be read is in nobody's way.
func (v *values) chosenContext() (chosen contexts.Context, named bool, err error) {
	name, named := v.flagged("context")
	if !named {
		name = v.getenv(v.of("context").variable)
	}
	if name == "" && v.said("url") && v.said("api-key-file") {
		return contexts.Context{}, false, nil
	}
	set, err := contexts.Locate(v.getenv).Read()
	if err != nil {
		return contexts.Context{}, false, err
	}
	if name == "" {
		name = set.Current
	}
	chosen, found := set.Find(name)
	if !found && name != "" {
		return contexts.Context{}, false, unknownContext(set, name)
	}
	return chosen, named, nil
}

// said reports whether a flag or a variable decides a setting.
func (v *values) said(flag string) bool {
	_, flagged := v.flagged(flag)
	return flagged || v.getenv(v.of(flag).variable) != ""
}

// sameServer reports whether two URLs lead to the same control plane.
func sameServer(a, b string) bool {
	x, err := url.Parse(a)
	y, err2 := url.Parse(b)
	return err == nil && err2 == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host) &&
		strings.TrimSuffix(x.Path, "/") == strings.TrimSuffix(y.Path, "/")
}

func (t target) connect() (*client.Client, error) {
	c, err := client.New(client.Config{URL: t.url, Key: t.key, Workspace: t.workspace, CA: t.ca, AllowPlain: t.allowPlain})
	if err != nil {
		return nil, &usageError{t.from["url"] + ": " + err.Error()}
	}
	return c, nil
}

// noKey says how to come by a key.
func (t target) noKey() error {
	message := "set CARACAL_API_KEY or --api-key-file, or keep a key by `caracal login`"
	if t.foreign != "" {
		message += fmt.Sprintf("; the key of the context %s is for its own control plane only, and not for %s", t.foreign, cmp.Or(t.url, "none"))
	}
	return &unauthenticatedError{message}
}

// unauthenticatedError is a call that has no key to be made with.
type unauthenticatedError struct{ message string }

func (e *unauthenticatedError) Error() string { return e.message }
