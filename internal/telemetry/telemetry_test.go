package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestLoggerFormats(t *testing.T) {
	for _, tc := range []struct {
		name   string
		opts   LogOptions
		isJSON bool
	}{
		{"json", LogOptions{"info", "json"}, true},
		{"text", LogOptions{"info", "text"}, false},
		{"auto away from a terminal is json", LogOptions{"info", "auto"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := NewLogger(&out, tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("hidden")
			log.Warn("breaker open", "after", 3*time.Second)
			if strings.Contains(out.String(), "hidden") {
				t.Error("a record below the level was written")
			}
			var record map[string]any
			err = json.Unmarshal(out.Bytes(), &record)
			if (err == nil) != tc.isJSON {
				t.Fatalf("json: %v, want %v: %s", err == nil, tc.isJSON, out.String())
			}
			if !tc.isJSON {
				if got := out.String(); !strings.Contains(got, "level=warn") || !strings.Contains(got, "after=3s") {
					t.Errorf("text record: %s", got)
				}
				return
			}
			if record["level"] != "warn" || record["after"] != "3s" || record["msg"] != "breaker open" {
				t.Errorf("json record: %s", out.String())
			}
		})
	}
}

func TestLogLevels(t *testing.T) {
	for _, level := range []string{"debug", "info", "warn", "error"} {
		log, err := NewLogger(&bytes.Buffer{}, LogOptions{level, "json"})
		if err != nil {
			t.Fatal(err)
		}
		var want slog.Level
		if err := want.UnmarshalText([]byte(level)); err != nil {
			t.Fatal(err)
		}
		if !log.Enabled(t.Context(), want) || log.Enabled(t.Context(), want-1) {
			t.Errorf("%s does not log from %s on", level, want)
		}
	}
}

func TestLogOptionsValidateNamesAllProblems(t *testing.T) {
	err := LogOptions{Level: "loud", Format: "xml"}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	want := "level: \"loud\": must be one of debug, info, warn, error\n" +
		"format: \"xml\": must be one of text, json, auto"
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	if err := DefaultLogOptions().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	if _, err := NewLogger(&bytes.Buffer{}, LogOptions{}); err == nil {
		t.Error("NewLogger takes invalid options")
	}
}

func TestVersionFrom(t *testing.T) {
	vcs := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"},
		{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
		{Key: "vcs.modified", Value: "true"},
	}
	for _, tc := range []struct {
		name, linked, module string
		settings             []debug.BuildSetting
		version, line        string
	}{
		{"linked", "v1.2.3", "v9.9.9", nil, "1.2.3", "postroad 1.2.3 go"},
		{"module version", "", "v1.4.0", nil, "1.4.0", "postroad 1.4.0 go"},
		{"development build", "", "(devel)", vcs, "dev", "postroad dev (0123456789ab, modified) go"},
		{"no build info", "", "", nil, "dev", "postroad dev go"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := versionFrom(tc.linked, &debug.BuildInfo{Main: debug.Module{Version: tc.module}, Settings: tc.settings})
			if v.Version != tc.version {
				t.Errorf("version %q, want %q", v.Version, tc.version)
			}
			if got := v.String(); !strings.HasPrefix(got, tc.line) {
				t.Errorf("line %q, want it to begin with %q", got, tc.line)
			}
		})
	}
}

func TestRegistryHoldsProcessAndBuild(t *testing.T) {
	r, err := NewRegistry(Version{Version: "1.2.3", Go: "go1"})
	if err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
		if f.GetName() == "postroad_build_info" {
			for _, l := range f.GetMetric()[0].GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
		}
	}
	for _, want := range []string{"go_goroutines", "process_start_time_seconds", "postroad_build_info"} {
		if !names[want] {
			t.Errorf("no metric %s", want)
		}
	}
	if labels["version"] != "1.2.3" || labels["go"] != "go1" {
		t.Errorf("labels of the build: %v", labels)
	}
}
