package config

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample has every kind of setting.
type sample struct {
	Name  string      `yaml:"name"`
	Part  partOptions `yaml:"part"`
	Plain bare        `yaml:"plain"`
}

type partOptions struct {
	MaxBytes int64         `yaml:"max_bytes"`
	Wait     time.Duration `yaml:"wait"`
	Peers    []string      `yaml:"peers"`
	Password string        `yaml:"password" secret:"true"`
	Inner    innerOptions  `yaml:"inner"`
}

type innerOptions struct {
	Share float64    `yaml:"share"`
	On    bool       `yaml:"on"`
	Addr  netip.Addr `yaml:"addr"`
	Codes []int      `yaml:"codes"`
	small `yaml:",inline"`
}

type small struct {
	Port uint16 `yaml:"port"`
}

type bare struct {
	Deep innerPlain `yaml:"deep"`
}

type innerPlain struct {
	Level string `yaml:"level"`
}

func (o partOptions) Validate() error {
	var errs []error
	if o.MaxBytes < 1 || o.MaxBytes > 100 {
		errs = append(errs, fmt.Errorf("max_bytes: %d: must be between 1 and 100", o.MaxBytes))
	}
	if len(o.Password) < 3 {
		errs = append(errs, fmt.Errorf("password: %q: must have 3 letters", o.Password))
	}
	if o.Inner.Port == 1 {
		errs = append(errs, errors.Join(fmt.Errorf("inner.port: 1: must not be 1")))
	}
	for i, p := range o.Peers {
		if p == "nobody" {
			errs = append(errs, fmt.Errorf("peers[%d]: nobody: must be somebody", i))
		}
	}
	return errors.Join(errs...)
}

// Validate would report the same twice if sections in sections were asked.
func (o innerOptions) Validate() error { return errors.New("on: never: must not be asked") }

func (o innerPlain) Validate() error {
	if o.Level == "bad" {
		return errors.New("level: bad: must be good")
	}
	return nil
}

func (s sample) Validate() error {
	if s.Name == "" {
		return errors.New("name: \"\": must be given")
	}
	return nil
}

func defaultSample() sample {
	return sample{Name: "x", Part: partOptions{MaxBytes: 10, Wait: time.Second, Peers: []string{"a"}, Password: "hush!"}}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postroad.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const everyKind = `# a comment
name: "north"
part:
  max_bytes: 1_0
  wait: 250ms
  peers:
    - one
    - "two: 2"
  password: swordfish
  inner:
    share: 0.5
    on: true
    addr: 10.0.0.1
    codes: [1, -2]
    port: 8080
plain:
`

func TestFileSetsEveryKind(t *testing.T) {
	s := defaultSample()
	if _, err := Load(&s, LoadOptions{File: writeConfig(t, everyKind)}); err != nil {
		t.Fatal(err)
	}
	want := sample{Name: "north", Part: partOptions{
		MaxBytes: 10, Wait: 250 * time.Millisecond, Peers: []string{"one", "two: 2"}, Password: "swordfish",
		Inner: innerOptions{
			Share: 0.5, On: true, Addr: netip.MustParseAddr("10.0.0.1"), Codes: []int{1, -2}, small: small{8080},
		},
	}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

func TestEnvAndSetReadTheSameForms(t *testing.T) {
	s := defaultSample()
	_, err := Load(&s, LoadOptions{
		Env: []string{"POSTROAD_PART_PEERS=one, two", "POSTROAD_PART_INNER_ADDR=::1", "POSTROAD_PART_PASSWORD=from env", "PATH=/bin"},
		Set: []string{"part.inner.codes=", "part.wait=1h", "part.inner.on=1", "part.inner.port=7", "name=a=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := defaultSample()
	want.Name = "a=b"
	want.Part.Peers = []string{"one", "two"}
	want.Part.Wait = time.Hour
	want.Part.Password = "from env"
	want.Part.Inner = innerOptions{On: true, Addr: netip.IPv6Loopback(), Codes: []int{}, small: small{7}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

// Flag before variable before file before default.
func TestPrecedence(t *testing.T) {
	file := writeConfig(t, "name: file\npart: {max_bytes: 11, wait: 11s}\n")
	env := []string{"POSTROAD_NAME=env", "POSTROAD_PART_MAX_BYTES=12"}
	s := defaultSample()
	l, err := Load(&s, LoadOptions{File: file, Env: env, Set: []string{"name=first", "name=flag"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{s.Name, s.Part.MaxBytes, s.Part.Wait, s.Part.Peers}
	if want := []any{"flag", int64(12), 11 * time.Second, []string{"a"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for path, want := range map[string]string{
		"name": "--set", "part.max_bytes": "POSTROAD_PART_MAX_BYTES", "part.wait": "postroad.yaml:2", "part.peers": "default",
	} {
		if o, ok := l.Origin(path); !ok || o.String() != want {
			t.Errorf("origin of %s: %s, want %s", path, o, want)
		}
	}
	if _, ok := l.Origin("part"); ok {
		t.Error("a section has an origin")
	}
}

// problems loads a bad configuration and returns its problems.
func problems(t *testing.T, file string, env, set []string) []string {
	t.Helper()
	o := LoadOptions{Env: env, Set: set, IgnoreEnv: []string{"POSTROAD_URL"}}
	if file != "" {
		o.File = writeConfig(t, file)
	}
	s := defaultSample()
	_, err := Load(&s, o)
	if err == nil {
		return nil
	}
	var ce *Error
	if !errors.As(err, &ce) {
		t.Fatalf("error %v, want an *Error", err)
	}
	var lines []string
	for _, p := range ce.Problems {
		lines = append(lines, p.String())
	}
	return lines
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name     string
		file     string
		env, set []string
		want     []string
	}{
		{
			name: "all at once, from every source and from validation",
			file: "nam: x\npart:\n  max_bytes: 0\n  wait: 10\n  peers: one\n  inner:\n    port: 70000\nplain: {deep: {level: bad}}\n",
			env:  []string{"POSTROAD_NAME=", "POSTROAD_PART_INNER_ON=maybe"},
			set:  []string{"part.inner.share=half"},
			want: []string{
				`nam: unknown key, did you mean name? (postroad.yaml:1)`,
				`part.wait: 10: must be a duration such as 250ms, 10s or 24h (postroad.yaml:4)`,
				`part.peers: one: must be a list, such as [a, b] (postroad.yaml:5)`,
				`part.inner.port: 70000: is too large a number (postroad.yaml:7)`,
				`part.inner.on: maybe: must be true or false (POSTROAD_PART_INNER_ON)`,
				`part.inner.share: half: must be a number (--set)`,
				`name: "": must be given (POSTROAD_NAME)`,
				`part.max_bytes: 0: must be between 1 and 100 (postroad.yaml:3)`,
				`plain.deep.level: bad: must be good (postroad.yaml:8)`,
			},
		},
		{
			name: "no word of what a broken value would have been",
			file: "part: {max_bytes: many}",
			want: []string{`part.max_bytes: many: must be a whole number (postroad.yaml:1)`},
		},
		{
			name: "joined errors in errors, default values",
			set:  []string{"part.inner.port=1", "part.max_bytes=101", "part.peers=a,nobody"},
			want: []string{
				`part.max_bytes: 101: must be between 1 and 100 (--set)`,
				`part.inner.port: 1: must not be 1 (--set)`,
				`part.peers[1]: nobody: must be somebody (--set)`,
			},
		},
		{
			name: "wrong shapes",
			file: "name: [x]\npart: 3\nplain:\n  deep:\n    level: {a: 1}\n",
			want: []string{
				`name: must be a single value, not a list (postroad.yaml:1)`,
				`part: 3: must be a section with settings in it (postroad.yaml:2)`,
				`plain.deep.level: must be a single value, not a section (postroad.yaml:5)`,
			},
		},
		{
			name: "lists of lists, empty values, bad items",
			file: "name:\npart: {peers: [[a]], inner: {codes: [1, x]}}\n",
			want: []string{
				`name: has no value; leave the key out to have the default (postroad.yaml:1)`,
				`part.peers: must be a list of single values (postroad.yaml:2)`,
				`part.inner.codes: item 2: must be a whole number (postroad.yaml:2)`,
			},
		},
		{
			name: "secrets are not quoted",
			file: "part: {password: [zz]}",
			env:  []string{"POSTROAD_PART_PASSWORD=zz"},
			want: []string{
				`part.password: must be a single value, not a list (postroad.yaml:1)`,
				`part.password: "***": must have 3 letters (POSTROAD_PART_PASSWORD)`,
			},
		},
		{
			name: "secrets are not taken from the command line",
			set:  []string{"part.password=swordfish"},
			want: []string{`part.password: is a secret, which other users of the machine could read from the command line; ` +
				`set it in the file or as POSTROAD_PART_PASSWORD (--set)`},
		},
		{
			name: "unknown names",
			env: []string{
				"POSTROAD_PART_MAXBYTES=1", "POSTROAD_WHATEVER=1", "POSTROAD_URL=http://x",
				"POSTROAD_GATEWAY_SERVICE_HOST=10.0.0.1", "POSTROAD_GATEWAY_PORT_80_TCP_ADDR=10.0.0.1", "POSTROAD_PORT=tcp://10.0.0.1:80",
			},
			set: []string{"part.max=1", "part=1", "nothing"},
			want: []string{
				`unknown setting, did you mean POSTROAD_PART_MAX_BYTES? (POSTROAD_PART_MAXBYTES)`,
				`unknown setting (POSTROAD_WHATEVER)`,
				`part.max: unknown setting (--set)`,
				`part: is a section; name a setting in it (--set)`,
				`nothing: must be path=value (--set)`,
			},
		},
		{
			name: "not YAML",
			file: "name: x\npart: {max_bytes: 1\n",
			want: []string{`is not YAML: could not find flow mapping end token '}' (postroad.yaml:2)`},
		},
		{
			name: "a key twice",
			file: "name: x\nname: y\n",
			want: []string{`is not YAML: mapping key "name" already defined at [1:1] (postroad.yaml:2)`},
		},
		{
			name: "not a mapping, several documents, merge keys",
			file: "a word\n---\nname: x\n",
			want: []string{
				`"a word": must be a section with settings in it (postroad.yaml:1)`,
				`only one YAML document is read (postroad.yaml:3)`,
			},
		},
		{
			name: "merge keys and anchors that are not there",
			file: "name: *nowhere\npart:\n  <<: {max_bytes: 3}\n",
			want: []string{
				`name: *nowhere: refers to an anchor that no line above defines (postroad.yaml:1)`,
				`part: <<: merge keys are not supported (postroad.yaml:3)`,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := problems(t, tc.file, tc.env, tc.set)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
		})
	}
}

func TestAliases(t *testing.T) {
	s := defaultSample()
	file := writeConfig(t, "name: &n north\nplain: {deep: {level: *n}}\npart: {peers: [*n, b]}\n")
	if _, err := Load(&s, LoadOptions{File: file}); err != nil {
		t.Fatal(err)
	}
	if s.Plain.Deep.Level != "north" || s.Part.Peers[0] != "north" {
		t.Errorf("got %+v", s)
	}
}

func TestEmptyFilesHaveNoSettings(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "part:\n  # all of it\n"} {
		if got := problems(t, text, nil, nil); got != nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestUnreadableFiles(t *testing.T) {
	s := defaultSample()
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := Load(&s, LoadOptions{File: missing}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	huge := writeConfig(t, strings.Repeat("#", MaxFileBytes+1))
	if _, err := Load(&s, LoadOptions{File: huge}); err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("huge file: %v", err)
	}
}

func TestErrorText(t *testing.T) {
	one := Problem{Path: "a.b", Value: "3", Rule: "must be 4", Origin: Origin{"f.yaml", 7}}
	if got, want := (&Error{[]Problem{one}}).Error(), "configuration: a.b: 3: must be 4 (f.yaml:7)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := (&Error{[]Problem{one, {Rule: "unknown setting", Origin: Origin{Name: "POSTROAD_X"}}}}).Error()
	want := "configuration has 2 problems:\n  a.b: 3: must be 4 (f.yaml:7)\n  unknown setting (POSTROAD_X)"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What Print writes says where each value came from and, without its secrets,
// loads as the same settings.
func TestPrint(t *testing.T) {
	s := defaultSample()
	s.Part.Inner.Addr = netip.MustParseAddr("10.0.0.1")
	l, err := Load(&s, LoadOptions{
		File: writeConfig(t, "name: \"true\"\npart:\n  peers: ['a, b', \":80\", \"line\\nbreak\", '#x', \"caf\u00e9\"]\n"),
		Env:  []string{"POSTROAD_PART_WAIT=90s"},
		Set:  []string{"part.inner.codes=3,4"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `name: "true"                                             # postroad.yaml:1
part:
  max_bytes: 10                                          # default
  wait: 1m30s                                            # POSTROAD_PART_WAIT
  peers: ["a, b", ":80", "line\nbreak", "#x", "café"]  # postroad.yaml:3
  password: "***"                                        # default
  inner:
    share: 0                                             # default
    on: false                                            # default
    addr: "10.0.0.1"                                     # default
    codes: [3, 4]                                        # --set
    port: 0                                              # default
plain:
  deep:
    level: ""                                            # default
`
	if strings.Join(strings.Fields(out.String()), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	again := sample{}
	if _, err := Load(&again, LoadOptions{File: writeConfig(t, out.String())}); err != nil {
		t.Fatalf("what was printed does not load: %v", err)
	}
	s.Part.Password = "***"
	if !reflect.DeepEqual(again, s) {
		t.Errorf("read back %+v, want %+v", again, s)
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	for name, target := range map[string]any{
		"not a pointer": sample{},
		"no yaml name":  &struct{ A string }{},
		"no text form": &struct {
			A map[string]string `yaml:"a"`
		}{},
		"one variable for two": &struct {
			A struct {
				B string `yaml:"b"`
			} `yaml:"a"`
			AB string `yaml:"a_b"`
		}{},
	} {
		var ce *Error
		if _, err := Load(target, LoadOptions{}); err == nil || errors.As(err, &ce) {
			t.Errorf("%s: %v, want an error about the struct", name, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"gateway", "queue", "hub", "log"}
	for given, want := range map[string]string{"gatway": "gateway", "qeue": "queue", "logs": "log", "telemetry": "", "x": ""} {
		if got := nearest(given, names); got != want {
			t.Errorf("nearest(%s) = %q, want %q", given, got, want)
		}
	}
}

// Whatever bytes a file holds, loading ends without a panic, and every problem
// says what is wrong.
func FuzzLoadFile(f *testing.F) {
	f.Add([]byte(everyKind))
	f.Add([]byte("a: &a [*a]\nb: !!str x\n? {c: 1}\n: d\n<<: *a\n--- |\n text\n"))
	f.Add([]byte("name: >\n folded\npart: {peers: [a,,b], inner: *x}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := defaultSample()
		tr, err := newTree(&s)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range tr.loadFile("fuzz.yaml", b) {
			if p.Rule == "" {
				t.Errorf("a problem without a rule: %+v", p)
			}
		}
	})
}
