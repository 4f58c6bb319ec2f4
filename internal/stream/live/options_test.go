package live_test

import (
	"strings"
	"testing"
	"time"

	"postroad/internal/stream/live"
)

func TestTopicsAreWrittenAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]live.TopicOptions{
		"a":                       {Name: "a"},
		" a  conflate ":           {Name: "a", Conflate: true},
		"a window=5":              {Name: "a", Window: 5},
		"a conflate window=65536": {Name: "a", Window: 65536, Conflate: true},
	} {
		var got, again live.TopicOptions
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
		b, err := got.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(b); err != nil || again != want {
			t.Errorf("%q is written %q and read as %+v, %v", text, b, again, err)
		}
	}
	for _, text := range []string{"", " ", "a b", "a window", "a window=0", "a window=-1", "a window=x", "a window=5 window=6", "a conflate conflate", "a conflate=true"} {
		var got live.TopicOptions
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

// All problems are told at once, each by its path.
func TestOptionsAreValidated(t *testing.T) {
	good := live.DefaultOptions()
	good.Topics = []live.TopicOptions{{Name: "a"}, {Name: "b", Window: 7}}
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := live.Options{Topics: []live.TopicOptions{{Name: "a"}, {Name: "a"}, {Name: "a/b"}, {Name: "c", Window: -1}}, Window: -1, MaxLag: -time.Second}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, path := range []string{"topics[1]: ", "topics[2]: ", "topics[3] window: ", "window: -1: ", "max_lag: -1s: ", "dedupe_horizon: ", "recovery.max_bytes: ", "recovery.concurrent: "} {
		if !strings.Contains("\n"+err.Error(), "\n"+path) {
			t.Errorf("nothing of %s in\n%v", path, err)
		}
	}
	none := live.DefaultOptions()
	if err := none.Validate(); err == nil || !strings.Contains(err.Error(), "topics: none") {
		t.Errorf("no topics: %v", err)
	}
	if _, err := live.New(none, live.Deps{}); err == nil {
		t.Error("an engine without topics")
	}
	if _, err := live.New(good, live.Deps{}); err == nil {
		t.Error("an engine without a log")
	}
}

func FuzzTopicOptions(f *testing.F) {
	for _, s := range []string{"a", "a window=5 conflate", "a conflate window=1", "a x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var o, again live.TopicOptions
		if o.UnmarshalText([]byte(s)) != nil {
			return
		}
		b, err := o.MarshalText()
		if err != nil || again.UnmarshalText(b) != nil || again != o {
			t.Errorf("%q is %+v, written %q and read as %+v", s, o, b, again)
		}
	})
}

func TestSubjectsOfTheWire(t *testing.T) {
	for name, want := range map[string]live.Subject{
		"t/k":           {Topic: "t", Key: "k", Partition: -1},
		"/t/k":          {Topic: "t", Key: "k", Partition: -1},
		"t/":            {Topic: "t", Partition: -1},
		"t/*":           {Topic: "t", All: true, Partition: -1},
		"t/*@0":         {Topic: "t", All: true},
		"t/*@12":        {Topic: "t", All: true, Partition: 12},
		"t/%2A":         {Topic: "t", Key: "*", Partition: -1},
		"t/%2A@1":       {Topic: "t", Key: "*@1", Partition: -1},
		"t/a%2Fb%25%FF": {Topic: "t", Key: "a/b%\xff", Partition: -1},
		"t/größe *":     {Topic: "t", Key: "größe *", Partition: -1},
	} {
		got, err := live.ParseSubject(name)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v", name, got, err)
		}
		if canonical := strings.TrimPrefix(name, "/"); got.String() != canonical {
			t.Errorf("%q is written %q", name, got)
		}
	}
	for _, name := range []string{"", "t", "/t", "t/a/b", "t/%", "t/%2", "t/%xy", "t/\xff", "t/*@", "t/*@x", "t/*@-1", "t/*@01", "t/*@2147483648", "a b/k", "../k"} {
		if got, err := live.ParseSubject(name); err == nil {
			t.Errorf("%q is %+v", name, got)
		}
	}
}

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"t/k", "/t/", "t/*", "t/*@3", "t/%2A", "t/%FF%00/", "t/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := live.ParseSubject(name)
		if err != nil {
			return
		}
		again, err := live.ParseSubject(s.String())
		if err != nil || again != s {
			t.Errorf("%q is %+v, written %q and read as %+v, %v", name, s, s, again, err)
		}
	})
}
