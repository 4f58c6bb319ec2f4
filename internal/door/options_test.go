package door

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := testOptions(origins("http://127.0.0.1:8081", "https://stamp.example:443/", "http://[::1]:80")...)
	if err := good.Validate(); err != nil {
		t.Fatalf("good options: %v", err)
	}
	if err := DefaultOptions().Validate(); err == nil || err.Error() != "origins: none: must name at least one, or groups must" {
		t.Fatalf("default options: %v", err)
	}
	bad := Options{
		Settings: Settings{Probe: Probe{Path: "healthz"}},
		Origins: []Origin{
			{Name: "a b", URL: "ftp://x", Priority: 6},
			{Name: "", URL: "http://x/path", Priority: -1},
			{Name: "c", URL: "http://user@x"},
			{Name: "c", URL: "http://x?q"},
			{Name: "d", URL: "http://:80"},
			{Name: "e", URL: "http://x#f"},
			{Name: "f", URL: "://"},
		},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("bad options were taken")
	}
	for _, want := range []string{
		"dial_timeout: 0s: must be between 1ms and 1m0s",
		"response_timeout: 0s: ",
		"probe.interval: 0s: ",
		"probe.timeout: 0s: ",
		"health.healthy: 0: ",
		"health.unhealthy: 0: ",
		`affinity: "": must be key, cookie, header:NAME or none`,
		"limits.header_fields: 0: ",
		"drain.rate: 0: ",
		`probe.path: "healthz": `,
		`origins[0].name: "a b": `,
		`origins[0].url: "ftp://x": `,
		"origins[0].priority: 6: must be between ",
		`origins[1].name: "": `,
		`origins[1].url: "http://x/path": `,
		"origins[1].priority: -1: ",
		`origins[2].url: "http://user@x": `,
		`origins[3].name: "c": must differ`,
		`origins[3].url: "http://x?q": `,
		`origins[4].url: "http://:80": `,
		`origins[5].url: "http://x#f": `,
		`origins[6].url: "://": `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no problem %q in:\n%v", want, err)
		}
	}
	if _, err := New(bad, Deps{}); err == nil {
		t.Error("New took bad options")
	}
	for _, path := range []string{"//other/healthz", "", "/a#b", "http://x/healthz"} {
		o := good
		o.Probe.Path = path
		if o.Validate() == nil {
			t.Errorf("probe path %q was taken", path)
		}
	}
}
