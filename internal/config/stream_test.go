package config

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/httpserve"
)

// minimalStream is the least that a stream node must be told.
const minimalStream = "stream: {topics: [messages, vehicles window=65536 conflate]}\n"

func loadStream(t *testing.T, text string, set ...string) (Stream, *Loaded, []string) {
	t.Helper()
	s := DefaultStream()
	l, problems := load(t, &s, text, set)
	return s, l, problems
}

func TestStreamNeedsTopics(t *testing.T) {
	s, l, problems := loadStream(t, minimalStream)
	if problems != nil {
		t.Fatal(problems)
	}
	if s.HTTP.Listen != ":8800" || len(s.Stream.Live.Topics) != 2 || s.Stream.Live.Topics[1].Window != 65536 || !s.Stream.Live.Topics[1].Conflate {
		t.Errorf("loaded %+v", s)
	}
	if w := s.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
	if _, _, problems := loadStream(t, ""); len(problems) != 1 || !strings.HasPrefix(problems[0], "stream.topics: none") {
		t.Errorf("of an empty file: %q", problems)
	}
	var first, second bytes.Buffer
	if err := l.Print(&first); err != nil {
		t.Fatal(err)
	}
	_, l, problems = loadStream(t, first.String())
	if problems != nil {
		t.Fatalf("what was printed has problems: %q", problems)
	}
	if err := l.Print(&second); err != nil {
		t.Fatal(err)
	}
	if values(first.String()) != values(second.String()) {
		t.Errorf("printed again\n%s\nfirst\n%s", second.String(), first.String())
	}
}

// Every section's problems are reported with its path.
func TestStreamProblems(t *testing.T) {
	_, _, problems := loadStream(t, "node: {name: "+strings.Repeat("x", 129)+"}\nhub: {dialect: postroad}\n"+minimalStream,
		"stream.websocket.write_delay=1h", "stream.drain.rate=0", "auth.leeway=1h", "http.listen=8800", "stream.publish.gateways=ftp://x")
	for _, want := range []string{
		"node.name: ", "hub.dialect: postroad: must be a hub that can be read", "stream.websocket.write_delay: 1h0m0s: ", "stream.drain.rate: 0: ",
		"auth.leeway: ", `http.listen: "8800": `, "stream.publish.gateways[0]: ",
	} {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("no problem %q in %q", want, problems)
		}
	}
}

// The listeners of stamps and stream nodes take TLS as a front door's does, and what
// is printed of it can be read again.
func TestListenersTakeTLS(t *testing.T) {
	const good = "http: {tls: {cert_file: /c.pem, key_file: /k.pem, client_auth: require, client_ca_file: /ca.pem, min_version: '1.3', check_interval: 1m, certificates: [{cert_file: /d.pem, key_file: /l.pem}]}}\n"
	const bad = "http: {listen: nowhere, tls: {cert_file: /c.pem, client_auth: maybe, min_version: '1.1', certificates: [{key_file: /l.pem}]}}\n"
	for name, command := range map[string]struct {
		least string
		load  func(text string) (httpserve.TLSOptions, *Loaded, []string)
	}{
		"stamp": {minimal, func(text string) (httpserve.TLSOptions, *Loaded, []string) {
			s, l, problems := loadStamp(t, text)
			return s.HTTP.TLS, l, problems
		}},
		"stream": {minimalStream, func(text string) (httpserve.TLSOptions, *Loaded, []string) {
			s, l, problems := loadStream(t, text)
			return s.HTTP.TLS, l, problems
		}},
		"door": {minimalDoor, func(text string) (httpserve.TLSOptions, *Loaded, []string) {
			s, l, problems := loadDoor(t, text)
			return s.HTTP.TLS, l, problems
		}},
	} {
		want := httpserve.TLSOptions{
			CertFile: "/c.pem", KeyFile: "/k.pem", Certificates: []httpserve.Certificate{{CertFile: "/d.pem", KeyFile: "/l.pem"}},
			ClientAuth: httpserve.ClientAuthRequire, ClientCAFile: "/ca.pem", MinVersion: "1.3", CheckInterval: time.Minute,
		}
		text := good + command.least
		for range 2 {
			is, l, problems := command.load(text)
			if problems != nil || !reflect.DeepEqual(is, want) {
				t.Fatalf("%s: %+v, %q", name, is, problems)
			}
			var printed bytes.Buffer
			if err := l.Print(&printed); err != nil {
				t.Fatal(err)
			}
			text = printed.String()
		}
		_, _, problems := command.load(bad + command.least)
		for _, want := range []string{
			`http.listen: "nowhere": `, `http.tls.key_file: "": `, `http.tls.client_auth: "maybe": `, `http.tls.min_version: "1.1": `, "http.tls.certificates[0]: ",
		} {
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
				t.Errorf("%s: no problem %q in %q", name, want, problems)
			}
		}
		if len(problems) != 5 {
			t.Errorf("%s: %q", name, problems)
		}
	}
}

func TestStreamWarnings(t *testing.T) {
	for _, row := range []struct {
		name, text string
		set        []string
		want       string // "" for none
	}{
		{"usual", minimalStream, nil, ""},
		{"a look-back of millions", "stream: {topics: [messages window=2000000]}\n", nil, "stream.topics: messages window: 2000000: takes 61 MiB of memory for each partition"},
		{"a look-back that takes long to read", "stream: {topics: [messages]}\n", []string{"stream.window=600000", "hub.window=600000"}, "stream.window, of topic messages: 600000: with messages of 1 KiB, 585 MiB of each partition are read"},
		{"hardly any look-back", "stream: {topics: [messages window=10]}\n", nil, "be shown twice"},
		{"two look-backs", minimalStream, []string{"hub.window=1000"}, "hub.window: 1000: differs from stream.window, 32768"},
		{"no last values", minimalStream, []string{"stream.last_values.max_keys=0"}, "stream.last_values: "},
		{"anybody from anywhere", minimalStream, []string{"auth.anonymous.enabled=true", "stream.origins=*"}, "stream.origins: *: "},
		{"anybody", minimalStream, []string{"auth.anonymous.enabled=true"}, ""},
		{"a drain that is too slow", minimalStream, []string{"stream.drain.rate=10"}, "stream.drain: a full node has 20000 connections, of which drain.rate ends 400"},
		{"slow clients and lag", minimalStream, []string{"stream.max_lag=2s"}, "stream.max_lag: 2s: shorter than websocket.slow_for, 5s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, _, problems := loadStream(t, row.text, row.set...)
			if problems != nil {
				t.Fatal(problems)
			}
			got := s.Warnings()
			if row.want == "" && len(got) > 0 || row.want != "" && (len(got) != 1 || !strings.Contains(got[0], row.want)) {
				t.Errorf("warnings %q, want %q", got, row.want)
			}
		})
	}
}

func TestHasSection(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, minimalStream: true, minimal: false, "stream:\n": true, "log: {level: info}\nstream: {}\n": true,
		"hub: {stream: 1}\n": false, "- stream\n": false, "stream\n": false, "a: \"x\n": false, "# stream:\n": false,
	} {
		if got, err := HasSection(writeConfig(t, text), "stream"); got != want || err != nil {
			t.Errorf("%q has the section: %v, %v", text, got, err)
		}
	}
	if got, err := HasSection("", "stream"); got || err != nil {
		t.Errorf("no file has it: %v, %v", got, err)
	}
	if _, err := HasSection("none.yaml", "stream"); err == nil {
		t.Error("a file that is not there")
	}
}
