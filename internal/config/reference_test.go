package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A default that a comment states is the one the code has.
func TestStatedDefaultsAreTrue(t *testing.T) {
	comments := map[string]string{}
	if err := json.Unmarshal(commentsJSON, &comments); err != nil {
		t.Fatal(err)
	}
	for _, r := range Roots() {
		tr, err := newTree(r.Settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tr.leaves {
			_, stated, ok := cutDefault(comments[commentKey(f.owner, f.name)])
			if !ok {
				continue
			}
			is := text(f.value)
			if stated == "empty" || stated == "none" && f.value.Kind() == reflect.Slice {
				stated = ""
			}
			if f.value.Kind() == reflect.Slice {
				stated = strings.Trim(stated, "[]")
			}
			if err := setText(f.value, stated); err != nil || text(f.value) != is {
				t.Errorf("%s: the comment states the default %q, it is %q", f.path, stated, is)
			}
		}
	}
}

func TestReferenceText(t *testing.T) {
	s := struct {
		Part struct {
			MaxBytes int64    `yaml:"max_bytes"`
			Peers    []string `yaml:"peers"`
			Token    string   `yaml:"token" secret:"true"`
		} `yaml:"part"`
	}{}
	s.Part.MaxBytes = 3 << 20
	// Unnamed structs have no import path, so that their keys begin with dots.
	comments := `{
		"..Part": "Part is one part.",
		"..MaxBytes": "MaxBytes is the most, in bytes. Default 3145728 (3 MiB).",
		"..Peers": "Those that help. Default empty: nobody helps.",
		"..Token": "Token opens the door."
	}`
	var out bytes.Buffer
	if err := ReferenceFrom(&out, []byte(comments), Root{Command: "postroad part", About: "What it is.", Settings: &s}); err != nil {
		t.Fatal(err)
	}
	want := "\n## postroad part\n\nWhat it is.\n" +
		"\n### part\n\n`part` is one part.\n" +
		"\n- **`part.max_bytes`** · integer · default `3145728` (3 MiB) · `POSTROAD_PART_MAX_BYTES`\n\n  `max_bytes` is the most, in bytes.\n" +
		"\n- **`part.peers`** · list of texts · empty by default · `POSTROAD_PART_PEERS`\n\n  Those that help. Default empty: nobody helps.\n" +
		"\n- **`part.token`** · text, secret · empty by default · `POSTROAD_PART_TOKEN`\n\n  `token` opens the door.\n"
	if got := strings.TrimPrefix(out.String(), referenceHead); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := ReferenceFrom(&out, []byte(`{}`), Root{Command: "postroad part", About: "What it is.", Settings: &s}); err == nil {
		t.Error("a setting without a comment passes")
	}
}

func TestCutDefault(t *testing.T) {
	for comment, want := range map[string]string{
		"It waits. Default 30s.":             "30s",
		`It names. Default "anonymous".`:     "anonymous",
		"It caps. Default 8388608 (8 MiB).":  "8388608",
		"It lists. Default empty: nobody.":   "",
		"It lists.":                          "",
		"The Default is what it is, always.": "",
	} {
		if _, got, _ := cutDefault(comment); got != want {
			t.Errorf("%q states %q, want %q", comment, got, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 2 * time.Minute: "2m", 90 * time.Second: "1m30s",
		10 * time.Second: "10s", 0: "0s", 250 * time.Millisecond: "250ms", time.Hour + time.Second: "1h0m1s", -time.Hour: "-1h",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%s is written %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(durationText(d)); err != nil || back != d {
			t.Errorf("%s reads back as %s, %v", d, back, err)
		}
	}
}
