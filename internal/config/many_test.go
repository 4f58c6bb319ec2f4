package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// crowd has a list and a table of sections, within each other too.
type crowd struct {
	Groups map[string]team  `yaml:"groups"`
	Routes []route          `yaml:"routes"`
	Spare  map[string]*part `yaml:"spare"`
}

type team struct {
	Wait    time.Duration `yaml:"wait"`
	Members []member      `yaml:"members"`
	Inner   part          `yaml:"inner"`
}

func (t *team) SetDefaults() { t.Wait = time.Second }

type member struct {
	Name   string   `yaml:"name"`
	Weight int      `yaml:"weight"`
	On     bool     `yaml:"on"`
	URLs   []string `yaml:"urls"`
	Secret string   `yaml:"secret" secret:"true"`
}

func (m *member) SetDefaults() { m.Weight, m.On = 50, true }

type part struct {
	Level string `yaml:"level"`
}

type route struct {
	Paths []string `yaml:"paths"`
	To    part     `yaml:"to"`
}

func (c crowd) Validate() error {
	var errs []error
	for name, g := range c.Groups {
		for i, m := range g.Members {
			path := fmt.Sprintf("groups.%s.members[%d]", name, i)
			if m.Name == "" {
				errs = append(errs, fmt.Errorf("%s.name: empty: must be given", path))
			}
			if len(m.URLs) == 0 {
				errs = append(errs, fmt.Errorf("%s: none: must have an address", path))
			}
			for j, u := range m.URLs {
				if u == "bad" {
					errs = append(errs, fmt.Errorf("%s.urls[%d]: bad: must be good", path, j))
				}
			}
			if m.Secret == "hush" {
				errs = append(errs, fmt.Errorf("%s.secret: %s: must be longer than hush", path, m.Secret))
			}
		}
	}
	return errors.Join(errs...)
}

func defaultCrowd() crowd {
	return crowd{
		Routes: []route{{Paths: []string{"/a"}}, {To: part{Level: "low"}}},
		Spare:  map[string]*part{"b": {Level: "b"}, "a": {Level: "a"}},
	}
}

func loadCrowd(t *testing.T, text string, set ...string) (crowd, *Loaded, []string) {
	t.Helper()
	c := defaultCrowd()
	l, err := Load(&c, LoadOptions{File: writeConfig(t, text), Set: set, Env: []string{"POSTROAD_NOTHING_SERVICE_HOST=1"}})
	var lines []string
	var ce *Error
	if errors.As(err, &ce) {
		for _, p := range ce.Problems {
			lines = append(lines, p.String())
		}
	} else if err != nil {
		t.Fatal(err)
	}
	return c, l, lines
}

const wholeCrowd = `
groups:
  north.one:
    members:
      - name: a
        urls: [http://a]
        secret: swordfish
      - &b {name: b, weight: 7, on: false, urls: [http://b, "http://c"]}
    inner: {level: high}
  "2":
    wait: 3s
    members:
      - *b
  empty:
routes:
  - to: {level: x}
    paths: [/v1, /]
spare: {}
`

func TestListsAndTablesOfSections(t *testing.T) {
	b := member{Name: "b", Weight: 7, URLs: []string{"http://b", "http://c"}}
	want := crowd{
		Groups: map[string]team{
			"north.one": {
				Wait: time.Second, Inner: part{"high"},
				Members: []member{{Name: "a", Weight: 50, On: true, URLs: []string{"http://a"}, Secret: "swordfish"}, b},
			},
			"2":     {Wait: 3 * time.Second, Members: []member{b}},
			"empty": {Wait: time.Second},
		},
		Routes: []route{{Paths: []string{"/v1", "/"}, To: part{"x"}}},
	}
	got, l, problems := loadCrowd(t, wholeCrowd)
	if problems != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v; problems %q", got, want, problems)
	}
	var first, second bytes.Buffer
	if err := l.Print(&first); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(first.String(), "swordfish") {
		t.Errorf("a secret is printed:\n%s", first.String())
	}
	if !strings.Contains(first.String(), "      - name: a ") || !strings.Contains(first.String(), "# postroad.yaml:5") {
		t.Errorf("printed\n%s", first.String())
	}
	again, l, problems := loadCrowd(t, first.String())
	again.Groups["north.one"].Members[0].Secret = "swordfish"
	if problems != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("read back %+v, problems %q, from\n%s", again, problems, first.String())
	}
	if err := l.Print(&second); err != nil || values(second.String()) != values(first.String()) {
		t.Errorf("printed again\n%s\nfirst\n%s\n%v", second.String(), first.String(), err)
	}
}

// What a file does not name stays as it is by default, and --set reaches what is
// there.
func TestDefaultsOfListsAndTables(t *testing.T) {
	got, l, problems := loadCrowd(t, "routes:\n", "routes[1].to.level=set", "spare.a.level=other")
	if problems != nil {
		t.Fatal(problems)
	}
	if len(got.Routes) != 2 || got.Routes[1].To.Level != "set" || got.Routes[0].Paths[0] != "/a" || got.Spare["a"].Level != "other" || got.Spare["b"].Level != "b" {
		t.Errorf("got %+v", got)
	}
	if o, ok := l.Origin("routes[1].to.level"); !ok || o.Name != SetOrigin {
		t.Errorf("origin %v, %v", o, ok)
	}
	var out bytes.Buffer
	if err := l.Print(&out); err != nil || !strings.Contains(out.String(), "groups: {}") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestProblemsInListsAndTables(t *testing.T) {
	_, _, problems := loadCrowd(t, `
groups:
  g:
    members:
      - {nam: a, weight: x, urls: [http://a]}
      - {name: b, urls: [good, bad], secret: hush}
      - text
      - {name: c, urls: []}
      - {name: d, urls: [x], weight: [1]}
  h: text
  "a b": {}
  <<: {x: 1}
routes: {a: 1}
spare: [1]
`, "groups.g.members[7].weight=1", "groups.g.members=1", "routes[0].to.level=low")
	slices.Sort(problems)
	for _, want := range []string{
		`groups.g.members[0].nam: unknown key, did you mean name? (postroad.yaml:5)`,
		`groups.g.members[0].name: empty: must be given (default)`,
		`groups.g.members[0].weight: x: must be a whole number (postroad.yaml:5)`,
		`groups.g.members[1].urls[1]: bad: must be good (postroad.yaml:6)`,
		`groups.g.members[1].secret: ***: must be longer than *** (postroad.yaml:6)`,
		`groups.g.members[2]: text: must be a section with settings in it (postroad.yaml:7)`,
		`groups.h: text: must be a section with settings in it (postroad.yaml:10)`,
		`groups: "a b": must be a name without spaces, colons and brackets (postroad.yaml:11)`,
		`groups: <<: merge keys are not supported (postroad.yaml:12)`,
		`routes: "": must be a list of sections (postroad.yaml:13)`,
		`spare: "": must be sections by their names (postroad.yaml:14)`,
		`groups.g.members[7].weight: unknown setting, did you mean groups.g.members[0].weight? (--set)`,
	} {
		if !slices.Contains(problems, want) {
			t.Errorf("no problem %q in\n%s", want, strings.Join(problems, "\n"))
		}
	}
	for _, p := range problems {
		if strings.Contains(p, "hush") {
			t.Errorf("a secret in %q", p)
		}
	}
}

func TestReferenceOfListsAndTables(t *testing.T) {
	comments := bytes.NewBufferString("{")
	types, err := Structs(Root{Settings: &crowd{}})
	if err != nil {
		t.Fatal(err)
	}
	for i, typ := range types {
		for j := range typ.NumField() {
			if i+j > 0 {
				comments.WriteByte(',')
			}
			fmt.Fprintf(comments, "%q:%q", commentKey(typ, typ.Field(j).Name), "It is.")
		}
	}
	comments.WriteByte('}')
	var out bytes.Buffer
	if err := ReferenceFrom(&out, comments.Bytes(), Root{Command: "crowd", Settings: &crowd{}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### groups.NAME\n", "- **`groups.NAME.wait`** · duration · default `1s` · in the file only\n",
		"### groups.NAME.members[]\n", "- **`groups.NAME.members[].weight`** · integer · default `50` · in the file only\n",
		"### groups.NAME.inner\n", "### routes[]\n", "### spare.NAME\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, strings.TrimPrefix(out.String(), referenceHead))
		}
	}
}

// Whatever bytes a file holds, lists and tables are read without a panic, and what
// is read prints as something that reads the same.
func FuzzLists(f *testing.F) {
	f.Add([]byte(wholeCrowd))
	f.Add([]byte("groups: {a: {members: [{name: x}]}}\nroutes: [{}, {to: }]\nspare: {x: }\n"))
	f.Add([]byte("groups: &a {x: {members: [*a]}}\nspare: {? [1] : {}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := defaultCrowd()
		tr, err := newTree(&c)
		if err != nil {
			t.Fatal(err)
		}
		if len(tr.loadFile("fuzz.yaml", b)) > 0 {
			return
		}
		store(tr.root)
		tr.byPath = nil
		var first bytes.Buffer
		if err := (&Loaded{tr}).Print(&first); err != nil {
			t.Fatal(err)
		}
		again := defaultCrowd()
		tr, err = newTree(&again)
		if err != nil {
			t.Fatal(err)
		}
		if problems := tr.loadFile("printed.yaml", first.Bytes()); len(problems) > 0 {
			t.Errorf("%v in what was printed:\n%s", problems, first.String())
		}
	})
}
