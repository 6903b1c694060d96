package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/caracal-gateway/caracal/authority"
)

// Names and messages come from tenants: what a terminal would obey, hide or turn around is shown as what it is.
func TestATerminalIsNotObeyed(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;owned\x07 red\rgreen \u202egnp.exe \u200bx\x00\u0085\U000e0041 \xff é 漢"
	thing := map[string]any{"name": hostile, "inner": map[string]any{hostile: 1}, "list": []string{hostile}, "mixed": []any{map[string]any{"a": hostile}}}
	for _, format := range []string{formatTable, formatJSON, formatYAML} {
		var printed bytes.Buffer
		o := &output{w: &printed, format: format, colour: false, now: time.Now}
		if err := o.thing(thing); err != nil {
			t.Fatal(err)
		}
		if err := things(o, []map[string]any{thing}, "name", "list"); err != nil {
			t.Fatal(err)
		}
		explain(&printed, &usageError{hostile})
		for _, r := range printed.String() {
			if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u200b' || r >= 0xe0000 {
				t.Errorf("as %s it prints %U:\n%q", format, r, printed.String())
				break
			}
		}
		if !strings.Contains(printed.String(), "é 漢") || !strings.Contains(strings.ToLower(printed.String()), `\u202e`) {
			t.Errorf("as %s it prints %q", format, printed.String())
		}
	}
}

func TestWhatIsPassedThroughIsShownWholeLinesAtATime(t *testing.T) {
	const text = "{\"message\": \"é \u202e\"}\n\u2028 tail"
	for size := 1; size <= len(text); size++ {
		var printed bytes.Buffer
		l := &lineWriter{w: &printed, show: printableJSON}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if _, err := l.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
		if want := "{\"message\": \"é \\u202e\"}\n\\u2028 tail"; printed.String() != want {
			t.Errorf("in pieces of %d it prints %q, want %q", size, printed.String(), want)
		}
	}
}

// What a program reads is what the tenant wrote, whatever a terminal shows of it.
func TestEscapedOutputKeepsItsMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wrote := map[string]any{"name": rapid.String().Draw(t, "name"), "list": []any{rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"N", "yes", "Off", "true", "~", "null", "1", "1e3", "0o7", "2030-01-15", ".inf", "=", "<<"})).Draw(t, "element"), true, nil, 1.5, float64(7)}, "none": map[string]any{}}
		for format, read := range map[string]func([]byte, any) error{
			formatJSON: json.Unmarshal,
			formatYAML: func(text []byte, v any) error { return yaml.Unmarshal(text, v) },
		} {
			var printed bytes.Buffer
			if err := (&output{w: &printed, format: format}).thing(wrote); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := read(printed.Bytes(), &got); err != nil {
				t.Fatalf("the %s cannot be read: %v:\n%s", format, err, &printed)
			}
			if diff := cmp.Diff(wrote, got); diff != "" {
				t.Errorf("the %s reads otherwise (-want +got):\n%s", format, diff)
			}
		}
	})
}

func TestAThingIsPrintedAFieldALine(t *testing.T) {
	var printed bytes.Buffer
	err := (&output{w: &printed, format: formatTable}).thing(struct {
		ID      string         `json:"id"`
		Empty   *string        `json:"empty"`
		Numbers []int          `json:"numbers"`
		Inner   map[string]any `json:"inner"`
	}{"x", nil, []int{1, 2}, map[string]any{"a": true, "b": []any{map[string]any{"c": 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := "id       x\nnumbers  1, 2\ninner.a  true\ninner.b  [{\"c\":1}]\n"
	if diff := cmp.Diff(want, printed.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// A flag wins over its variable, and that over the fallback, for each setting of each command. A secret is never an
// argument: its flag names the file that holds it.
func TestWhereASettingComesFrom(t *testing.T) {
	secret := write(t, "secret", "from-flag\n")
	for name, table := range map[string][]setting{
		"client": clientSettings(), "controlplane": controlPlaneSettings(), "migrate": migrateSettings(), "gateway": gatewaySettings(), "dev": devSettings(),
	} {
		for _, s := range table {
			argument, flag, variable := "from-flag", "from-flag", "from-variable"
			switch {
			case s.fallback == "false":
				argument, flag, variable = "true", "true", "1"
			case s.secret():
				argument = secret
			}
			for sentence, c := range map[string]struct {
				args []string
				env  environment
				want string
			}{
				"nothing is given":  {nil, environment{}, s.fallback},
				"the variable":      {nil, environment{s.variable: variable}, variable},
				"the flag":          {[]string{"--" + s.flag + "=" + argument}, environment{}, flag},
				"both":              {[]string{"--" + s.flag + "=" + argument}, environment{s.variable: variable}, flag},
				"an empty variable": {nil, environment{s.variable: ""}, s.fallback},
			} {
				p := &program{getenv: c.env.get}
				command := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }}
				values := p.bind(command, table)
				command.SetArgs(c.args)
				if err := command.Execute(); err != nil {
					t.Fatal(err)
				}
				got, err := values.text(s.flag), error(nil)
				if s.secret() {
					got, err = values.secret(s.flag)
				}
				if got != c.want || err != nil {
					t.Errorf("%s --%s, %s: %q (%v), want %q", name, s.flag, sentence, got, err, c.want)
				}
			}
		}
	}
}

func TestNoFlagCarriesASecret(t *testing.T) {
	for name, table := range map[string][]setting{
		"client": clientSettings(), "controlplane": controlPlaneSettings(), "migrate": migrateSettings(), "gateway": gatewaySettings(), "dev": devSettings(),
	} {
		for _, s := range table {
			for _, word := range []string{"KEY", "SECRET", "PASSWORD", "TOKEN", "DATABASE_URL", "REDIS_URL"} {
				isFile := strings.HasSuffix(s.flag, "-file") || s.flag == "tls-key" || s.flag == "extauthz-key"
				if strings.Contains(s.variable, word) && !isFile {
					t.Errorf("%s --%s would carry a secret: let it name a file, and end in -file", name, s.flag)
				}
			}
		}
	}
}

func TestALineOfAnEventSaysWhoDidItToWhom(t *testing.T) {
	names := map[string]string{"prn_1": "ada", "prn_2": "my-agent"}
	cases := map[string]struct {
		event authority.Event
		want  string
	}{
		"by somebody else":      {authority.Event{Type: "key_created", PrincipalID: "prn_2", ActorID: "prn_1"}, "key_created  my-agent  by ada"},
		"by itself":             {authority.Event{Type: "allowed", PrincipalID: "prn_2", ActorID: "prn_2"}, "allowed  my-agent"},
		"by nobody that is one": {authority.Event{Type: "denied", Reason: "authentication_failed", Message: "no"}, "denied  authentication_failed  no"},
		"of a tunnel":           {authority.Event{Type: "denied", Reason: "no_mandate_applies", Request: &authority.RequestRecord{Host: "a.test", Port: 443}}, "denied  no_mandate_applies  a.test:443"},
		"without a known name":  {authority.Event{Type: "refused", PrincipalID: "prn_3", ActorID: "prn_4"}, "refused  prn_3  by prn_4"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var printed bytes.Buffer
			c := &call{output: &output{w: &printed, format: formatTable, names: names, now: time.Now}}
			if err := c.eventLine(tc.event); err != nil {
				t.Fatal(err)
			}
			if _, got, _ := strings.Cut(strings.TrimSpace(printed.String()), "  "); got != tc.want {
				t.Errorf("the line says %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAnEventIsShownWithWhatItsDetailsSay(t *testing.T) {
	var printed bytes.Buffer
	o := &output{w: &printed, format: formatTable, now: time.Now}
	if err := o.thing(authority.Event{ID: "evt_1", Type: "allowed", Detail: map[string]any{"selected": true, "tunnel": "dec_1", "envoy": "edge.test\x1b[2J"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`detail\.selected +true`, `detail\.tunnel +dec_1`, `detail\.envoy +edge\.test`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(printed.String()) {
			t.Errorf("nothing matches %s in:\n%s", want, &printed)
		}
	}
	if strings.Contains(printed.String(), "\x1b") {
		t.Error("a name reaches the terminal as it is")
	}
}
