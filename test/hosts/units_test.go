package hosts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// units are all that start the program, by the names of their files.
func units(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(deploy, "*", "postroad-*.service"))
	if err != nil || len(names) < 5 {
		t.Fatalf("units %q, %v", names, err)
	}
	found := make(map[string]string)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(data)
	}
	return found
}

// The settings are good ones for every command that a unit starts.
func TestUnitSettings(t *testing.T) {
	check := regexp.MustCompile(`(?m)^ExecStartPre=/usr/bin/postroad config check --config /etc/postroad/(\w+\.yaml)(.*)$`)
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/postroad (\w+) --config /etc/postroad/(\w+\.yaml)(.*)$`)
	for name, unit := range units(t) {
		checked, started := check.FindStringSubmatch(unit), start.FindStringSubmatch(unit)
		if checked == nil || started == nil || checked[1] != started[2] || checked[2] != started[3] {
			t.Errorf("%s: what is looked through is not what is started: %q, %q", name, checked, started)
			continue
		}
		path, args := filepath.Join(filepath.Dir(name), checked[1]), strings.Fields(checked[2])
		settings(t, path, args...)
		stops := least(t, started[1], path, args...)
		for _, p := range mortal(unit, stops) {
			t.Errorf("%s: %s", name, p)
		}
		for was, is := range map[string]string{
			`TimeoutStopSec=\d+`: fmt.Sprintf("TimeoutStopSec=%d", int(stops.Seconds())-1), `TimeoutStopSec=.*`: "", `Restart=always`: "Restart=on-failure",
			`StartLimitIntervalSec=0`: "StartLimitBurst=5", `LimitNOFILE=\d+`: "LimitNOFILE=1024", `RestartSec=1`: "RestartSec=1\nRuntimeMaxSec=86400",
		} {
			changed := regexp.MustCompile(`(?m)^`+was+`$`).ReplaceAllString(unit, is)
			if changed == unit || len(mortal(changed, stops)) == 0 {
				t.Errorf("%s: nothing is wrong with %q", name, is)
			}
		}
	}
}

// mortal is why a unit's process would be killed before it is done, or stay away for
// ever.
func mortal(unit string, stops time.Duration) []string {
	var found []string
	has := func(key string, good func(string) bool) {
		if v := values(unit, key); len(v) != 1 || !good(v[0]) {
			found = append(found, fmt.Sprintf("%s= is %q", key, v))
		}
	}
	is := func(want string) func(string) bool { return func(v string) bool { return v == want } }
	least := func(n int) func(string) bool {
		return func(v string) bool { i, err := strconv.Atoi(v); return err == nil && i >= n }
	}
	has("TimeoutStopSec", least(int(stops.Seconds())))
	has("LimitNOFILE", least(65536))
	has("Restart", is("always"))
	has("StartLimitIntervalSec", is("0"))
	if v := values(unit, "RuntimeMaxSec"); len(v) > 0 {
		found = append(found, "it is ended when it is well")
	}
	return found
}

// complaints are what systemd says of a unit, but that the program is not where it
// will be.
func complaints(t *testing.T, path string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", path).CombinedOutput()
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, filepath.Base(path)) && !strings.Contains(line, "/usr/bin/postroad is not executable") {
			found = append(found, fmt.Sprintf("%s (%v)", strings.TrimSpace(line), err))
		}
	}
	return found
}

func TestUnits(t *testing.T) {
	missing(t, "systemd-analyze")
	paths := []string{filepath.Join(deploy, "systemd", "var-lib-postroad.mount")}
	for name := range units(t) {
		paths = append(paths, name)
	}
	for _, path := range paths {
		for _, c := range complaints(t, path) {
			t.Error(c)
		}
	}
	for name, unit := range units(t) {
		broken := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.WriteFile(broken, []byte(strings.Replace(unit, "ProtectSystem=strict", "ProtectSystem=maybe", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(complaints(t, broken)) == 0 {
			t.Errorf("%s passes when it is broken: the test tests nothing", name)
		}
	}
}

// exposure is what systemd makes of a unit's hardening, 0 (none) to 10.
func exposure(t *testing.T, path string) float64 {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
	level, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return level
}

// Units are closed to what they do not need, open to what they do, and cannot
// begin before the share is there.
func TestUnitsAreHardened(t *testing.T) {
	missing(t, "systemd-analyze")
	for name, unit := range units(t) {
		if level := exposure(t, name); level > 2 {
			t.Errorf("%s: exposure %.1f", name, level)
		}
		// Without any one of these the level rises, so each is known to count.
		open := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.WriteFile(open, []byte(regexp.MustCompile(`(?m)^(SystemCallFilter|ProtectSystem|CapabilityBoundingSet)=.*\n`).ReplaceAllString(unit, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if level := exposure(t, open); level <= 2 {
			t.Errorf("%s: exposure %.1f without its hardening: the test tests nothing", name, level)
		}
		for _, harm := range []string{"ProtectProc=", "ProcSubset=", "PrivateUsers=", "DynamicUser="} {
			if !strings.Contains(name, "door") && regexp.MustCompile(`(?m)^`+harm).MatchString(unit) {
				t.Errorf("%s: %s hides processes of one queue from each other, or gives them other users", name, harm)
			}
		}
		stateless := strings.Contains(name, "stream") || strings.Contains(name, "door")
		if p := unmounted(unit); (len(p) == 0) == stateless {
			t.Errorf("%s: %q", name, p)
		}
		if stateless {
			continue
		}
		for _, row := range []struct{ was, is string }{
			{"ExecStartPre=" + mounting + "\n", ""},
			{"ExecStartPre=+", "ExecStartPre=-+"},
			{"ReadWritePaths=/var/lib/postroad\n", ""},
			{"After=network-online.target var-lib-postroad.mount", "After=network-online.target"},
			{"Wants=network-online.target var", "Requires=network-online.target var"},
			{"[Service]\n", "AssertPathIsMountPoint=/var/lib/postroad\n[Service]\n"},
		} {
			if changed := strings.Replace(unit, row.was, row.is, 1); changed == unit || len(unmounted(changed)) == 0 {
				t.Errorf("%s: nothing is wrong with %q", name, row.is)
			}
		}
	}
}

// mounting has the queue's file system mounted, or fails, by which the unit is tried
// again.
const mounting = "+/usr/bin/systemctl start var-lib-postroad.mount"

// unmounted is why a unit might begin a queue where nothing is mounted, or never
// begin when the mount was late.
func unmounted(unit string) []string {
	var found []string
	for _, row := range []struct{ key, value string }{
		{"ExecStartPre", mounting},
		{"ReadWritePaths", "/var/lib/postroad"},
		{"Wants", "network-online.target var-lib-postroad.mount"},
		{"After", "network-online.target var-lib-postroad.mount"},
	} {
		if v := values(unit, row.key); len(v) == 0 || v[0] != row.value {
			found = append(found, fmt.Sprintf("%s= is %q", row.key, v))
		}
	}
	for _, key := range []string{"Requires", "BindsTo", "RequiresMountsFor", "AssertPathIsMountPoint", "ConditionPathIsMountPoint"} {
		if v := values(unit, key); len(v) > 0 {
			found = append(found, fmt.Sprintf("%s=%s is not tried again", key, v))
		}
	}
	return found
}

// The share is mounted as docs/filesystems.md wants it, and is waited for.
func TestMount(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(deploy, "systemd", "var-lib-postroad.mount"))
	if err != nil {
		t.Fatal(err)
	}
	unit := string(data)
	for _, p := range carelesslyMounted(unit) {
		t.Error(p)
	}
	for _, row := range []struct{ was, is string }{
		{"hard", "soft"},
		{"vers=4.1", "vers=4.0"},
		{"lookupcache=pos", "lookupcache=all"},
		{"lookupcache=pos,", ""},
		{"retry=10000", "retry=2"},
		{",nosuid", ""},
		{"proto=tcp", "proto=udp"},
		{"noexec", "noexec,nocto"},
		{"TimeoutSec=0", "TimeoutSec=60"},
		{"StartLimitIntervalSec=0", ""},
		{"Where=/var/lib/postroad", "Where=/srv/postroad"},
		{"Type=nfs4", "Type=nfs"},
	} {
		if changed := strings.ReplaceAll(unit, row.was, row.is); changed == unit || len(carelesslyMounted(changed)) == 0 {
			t.Errorf("nothing is wrong with %q", row.is)
		}
	}
}

func carelesslyMounted(unit string) []string {
	var found []string
	for key, want := range map[string]string{
		"Where": "/var/lib/postroad", "Type": "nfs4", "TimeoutSec": "0", "StartLimitIntervalSec": "0",
		"Options": "vers=4.1,hard,lookupcache=pos,proto=tcp,retry=10000,nosuid,nodev,noexec",
	} {
		if v := values(unit, key); len(v) != 1 || v[0] != want {
			found = append(found, fmt.Sprintf("%s= is %q, want %s", key, v, want))
		}
	}
	return found
}
