package chart

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hardlyMeant is what the program warns of, and is meant: a door before one stamp
// only, which is what there is where no origins are named.
var hardlyMeant = map[string]string{
	"separate/door.yaml": "only one is enabled", "small/door.yaml": "only one is enabled",
	"cloud-blue/door.yaml": "only one is enabled", "cloud-green/door.yaml": "only one is enabled", "share/door.yaml": "only one is enabled",
}

// settingsFile writes the file of a ConfigMap that a Deployment reads.
func settingsFile(t *testing.T, all set, d object) string {
	t.Helper()
	c, file := all.settingsOf(d)
	text := c.text("data." + strings.ReplaceAll(file, ".", `\.`))
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The program itself finds the settings of each variant good, and hardly any
// that it would warn of. Settings that several variants share are asked for once.
func TestSettingsAreGood(t *testing.T) {
	program := built.Path(t)
	asked := map[string]bool{}
	for _, variant := range slices.Sorted(maps.Keys(variants())) {
		all := rendered(t, variant)
		for _, d := range all.of("Deployment") {
			file := settingsFile(t, all, d)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if asked[string(text)] {
				continue
			}
			asked[string(text)] = true
			out, err := check(t, program, file)
			if err != nil {
				t.Errorf("%s: %s: %v\n%s", variant, d.id(), err, out)
			}
			meant := hardlyMeant[variant+"/"+filepath.Base(file)]
			for line := range strings.Lines(out) {
				if strings.Contains(line, "warning:") && (meant == "" || !strings.Contains(line, meant)) {
					t.Errorf("%s: %s: %s", variant, d.id(), line)
				}
			}
		}
	}
}

func TestSettingsThatAreWrongAreFound(t *testing.T) {
	program := built.Path(t)
	for _, change := range []struct{ from, to string }{
		{"drain_delay: 10s", "drain_delay: soon"},
		{"dir: /var/lib/postroad/queue", "dirs: /var/lib/postroad/queue"},
		{"name: onprem", "name: On Prem"},
	} {
		all := rendered(t, "onprem")
		file := settingsFile(t, all, all[gatewayD])
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wrong := strings.Replace(string(b), change.from, change.to, 1)
		if wrong == string(b) {
			t.Fatalf("no %q in\n%s", change.from, b)
		}
		if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := check(t, program, file); err == nil {
			t.Errorf("%s is taken: %s", change.to, out)
		}
	}
}

func check(t *testing.T, program, file string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "config", "check", "--config", file).CombinedOutput()
	return string(out), err
}
