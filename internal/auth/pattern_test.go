package auth

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func patterns(t testing.TB, texts ...string) []Pattern {
	t.Helper()
	all := make([]Pattern, len(texts))
	for i, text := range texts {
		var err error
		if all[i], err = ParsePattern(text); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func granted(t testing.TB, texts ...string) Patterns {
	return Patterns{granted: []*list{{from: "test", patterns: patterns(t, texts...)}}}
}

func TestPatternsMatch(t *testing.T) {
	for _, row := range []struct {
		pattern, subject string
		want             bool
	}{
		{"vehicles/bus-7", "vehicles/bus-7", true},
		{"/vehicles/bus-7", "vehicles/bus-7", true},
		{"vehicles/bus-7", "vehicles/bus-70", false},
		{"vehicles/bus-*", "vehicles/bus-7", true},
		{"vehicles/bus-*", "vehicles/bus-", true},
		{"vehicles/bus-*", "vehicles/tram-7", false},
		{"vehicles/*-7", "vehicles/bus-7", true},
		{"vehicles/b*s*7", "vehicles/bus-17", true},
		{"vehicles/b*s*7", "vehicles/bus-71", false},
		{"vehicles/aba*aba", "vehicles/aba", false},
		{"vehicles/aba*aba", "vehicles/abaaba", true},
		{"vehicles/*", "vehicles/bus-7", true},
		{"vehicles/*", "vehicles/", true},
		{"vehicles/", "vehicles/", true},
		{"vehicles/", "vehicles/x", false},
		{"v*/*", "vehicles/x", true},
		{"*/*", "vehicles/x", true},
		{"*/x", "vehicles/x", true},
		{"vehicles/*", "vehicles2/x", false},
		{"vehicles/*", "Vehicles/x", false},
		// All keys, or those of a partition, need a pattern of all keys.
		{"vehicles/*", "vehicles/*", true},
		{"*/*", "vehicles/*", true},
		{"vehicles/**", "vehicles/*", true},
		{"vehicles/*", "vehicles/*@3", true},
		{"vehicles/a*", "vehicles/*", false},
		{"vehicles/*a", "vehicles/*", false},
		{"vehicles/**a", "vehicles/*@3", false},
		{"vehicles/", "vehicles/*", false},
		{"vehicles/%2A", "vehicles/*", false},
		{"vehicles/*%403", "vehicles/*@3", false},
		{"vehicles/%2A@3", "vehicles/*@3", false},
		// Keys are compared by their bytes, however they are written.
		{"vehicles/%2A", "vehicles/%2A", true},
		{"vehicles/a%2Fb", "vehicles/a%2Fb", true},
		{"vehicles/a%2fb", "vehicles/a%2Fb", true},
		{"vehicles/*F", "vehicles/%2F", false},
		{"vehicles/*b", "vehicles/%62", true},
		{"vehicles/ü*", "vehicles/%C3%BCx", true},
		{"vehicles/%FF*", "vehicles/%FFx", true},
		{"vehicles/a*", "vehicles/%61b", true},
		// What is no canonical name is not there.
		{"*/*", "vehicles", false},
		{"*/*", "/x", false},
		{"*/*", "vehicles/a/b", false},
		{"*/*", "vehicles/%2", false},
		{"*/*", "vehicles/%zz", false},
		{"*/*", "", false},
		{"*/*", "ve hicles/x", false},
		{"*/*", "//", false},
	} {
		p, err := ParsePattern(row.pattern)
		if err != nil {
			t.Errorf("%s: %v", row.pattern, err)
			continue
		}
		set := Patterns{granted: []*list{{patterns: []Pattern{p}}}}
		if got := set.Match(row.subject); got != row.want {
			t.Errorf("%s of %q: %v, want %v", row.pattern, row.subject, got, row.want)
		}
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "vehicles", "/", "//x", "/x", "vehicles/a/b", "ve hicles/*", "vehicles/%", "vehicles/%*", "vehicles/%2", "vehicles/%gg", "vehicles/\xff",
		"vehicles/*@3", "vehicles/*@", "./*x/", strings.Repeat("a", 250) + "/x", "a/" + strings.Repeat("*a", maxStars+1),
		strings.Repeat("*", maxStars+1) + "/a", "a/" + strings.Repeat("x", maxPattern), "vehicles/%-1",
	} {
		if p, err := ParsePattern(text); !errors.Is(err, ErrPattern) {
			t.Errorf("%.40q: %v, %v", text, p, err)
		}
	}
	var zero Patterns
	if zero.Match("a/b") || (Patterns{granted: []*list{{patterns: []Pattern{{}}}}}).Match("a/") {
		t.Error("nothing grants something")
	}
}

func TestMatchKeyTakesKeysAsTheyAre(t *testing.T) {
	set := granted(t, "t/%2A", "t/a%2Fb", "t/x*")
	for key, want := range map[string]bool{"*": true, "*@3": false, "a/b": true, "a%2Fb": false, "x/%": true, "y": false, "": false} {
		if got := set.MatchKey("t", key); got != want {
			t.Errorf("key %q: %v", key, got)
		}
	}
}

// A narrowed set is never wider than what was granted.
func TestNarrowing(t *testing.T) {
	set := granted(t, "a/*", "b/x")
	set.narrowed = &list{from: "token", patterns: patterns(t, "a/1*", "c/*", "b/*")}
	for subject, want := range map[string]bool{"a/1": true, "a/12": true, "a/2": false, "b/x": true, "b/y": false, "c/1": false, "a/*": false, "b/*": false} {
		if got := set.Match(subject); got != want {
			t.Errorf("%s: %v, want %v: %s", subject, got, want, set.Explain(subject))
		}
	}
	set.narrowed = &list{from: "token"}
	if set.Match("a/1") {
		t.Error("an empty list leaves something")
	}
}

func TestGlobsAgreeWithRegexp(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	text := func(letters string, most int) string {
		b := make([]byte, r.IntN(most))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	for range 20000 {
		pattern, s := text("ab*", 7), text("ab", 9)
		want := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "*", ".*") + "$").MatchString(s)
		if got := parseGlob(pattern).match(s); got != want {
			t.Fatalf("%q of %q: %v, want %v", pattern, s, got, want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{{"vehicles/bus-*", "vehicles/bus-7"}, {"*/%2A", "t/*"}, {"a*b/*@3", "ab/*@3"}, {"t/%FF", "t/%ff"}, {"t/*", "t/*"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, text, subject string) {
		p, err := ParsePattern(text)
		if err != nil {
			if !errors.Is(err, ErrPattern) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil {
			t.Fatalf("%q is read once only: %v", text, err)
		}
		set := Patterns{granted: []*list{{from: "f", patterns: []Pattern{p}}}}
		got := set.Match(subject)
		if (Patterns{granted: []*list{{patterns: []Pattern{again}}}}).Match(subject) != got {
			t.Fatalf("%q of %q: not the same twice", text, subject)
		}
		if target, ok := parseTarget(subject); got && (!ok || target.all && !p.key.any()) {
			t.Fatalf("%q opens %q", text, subject)
		}
		set.Explain(subject)
	})
}

func TestPolicyText(t *testing.T) {
	for _, row := range []struct{ text, again string }{
		{"dash-* read vehicles/* alarms/* publish chat/*", ""},
		{"ops publish */*", ""},
		{"  a%20b   read t/x  ", "a%20b read t/x"},
		{"a publish t/x read t/y", "a read t/y publish t/x"},
		{"50%25 read t/x", ""},
	} {
		var p Policy
		if err := p.UnmarshalText([]byte(row.text)); err != nil {
			t.Fatal(row.text, err)
		}
		want := row.again
		if want == "" {
			want = row.text
		}
		if got, err := p.MarshalText(); string(got) != want || err != nil {
			t.Errorf("%q, want %q (%v)", got, want, err)
		}
	}
	for _, text := range []string{"", "a", "a read", "read t/x", "a t/x", "a read publish", "t/x read t/y", "a read t", "a write t/x", "a%zz read t/x"} {
		var p Policy
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a policy: %+v", text, p)
		}
	}
}
