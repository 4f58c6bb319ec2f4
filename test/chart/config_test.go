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

// files of ConfigMaps that a program reads, by the name of the Deployment.
func settingsFile(t *testing.T, all set, d object) (command, path string) {
	t.Helper()
	args := texts(d.at(container + ".args"))
	file := filepath.Base(args[len(args)-1])
	text := all["ConfigMap/postroad-"+strings.TrimSuffix(file, ".yaml")].text("data." + strings.ReplaceAll(file, ".", `\.`))
	path = filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return args[0], path
}

// The program itself finds the settings of each variant good, and hardly any
// that it would warn of.
func TestSettingsAreGood(t *testing.T) {
	program := built.Path(t)
	for _, variant := range slices.Sorted(maps.Keys(variants())) {
		all := rendered(t, variant)
		for _, d := range all.of("Deployment") {
			_, file := settingsFile(t, all, d)
			out, err := check(t, program, file)
			if err != nil || strings.Contains(out, "warning:") {
				t.Errorf("%s: %s: %v\n%s", variant, d.id(), err, out)
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
		_, file := settingsFile(t, all, all[gatewayD])
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

func check(t *testing.T, program, file string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "config", "check", "--config", file)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Why enableServiceLinks is false: what Kubernetes makes of a Service beside the
// pod is a setting that nobody knows, and the program would not start.
func TestServiceLinksWouldBeSettings(t *testing.T) {
	all := rendered(t, "onprem")
	_, file := settingsFile(t, all, all[gatewayD])
	out, err := check(t, built.Path(t), file, "POSTROAD_GATEWAY_SERVICE_HOST=10.0.0.1")
	if err == nil || !strings.Contains(out, "POSTROAD_GATEWAY_SERVICE_HOST") {
		t.Errorf("%v\n%s", err, out)
	}
}
