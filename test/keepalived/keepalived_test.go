package keepalived

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"postroad/test/binary"
)

// deploy is where what is shipped stands.
const deploy = "../../deploy/keepalived"

var built binary.Built

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// keepalived reads the configuration without a complaint, and finds one that is
// broken.
func TestConfiguration(t *testing.T) {
	if !inOwnNetwork(t, false) {
		return
	}
	network(t)
	one := newMachine(t, "one", "192.0.2.11", "192.0.2.12", 110)
	tested := func(conf string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", "one", "keepalived", "--config-test", "--use-file", conf)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := tested(one.conf); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v\n%s", err, out)
	}
	broken := filepath.Join(t.TempDir(), "broken.conf")
	writeConf(t, broken, map[string]string{"OWN": "192.0.2.11", "PEER": "nowhere", "CHECK_USER": "root"})
	if out, err := tested(broken); err == nil && out == "" {
		t.Error("a broken configuration passes: the test tests nothing")
	}
}

func TestCheckOfADoor(t *testing.T) {
	needs(t, "curl")
	codes := map[string]int{"/good": 200, "/bad": 503, "/moved": 302}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(codes[r.URL.Path]) }))
	defer s.Close()
	tls := httptest.NewTLSServer(s.Config.Handler)
	defer tls.Close()
	for _, row := range []struct {
		urls []string
		good bool
	}{
		{[]string{s.URL + "/good"}, true},
		{[]string{s.URL + "/good", tls.URL + "/good"}, true},
		{[]string{s.URL + "/good", s.URL + "/bad"}, false},
		{[]string{s.URL + "/bad", s.URL + "/good"}, false},
		{[]string{s.URL + "/moved"}, false},
		{[]string{"http://127.0.0.1:1/good"}, false},
	} {
		err := exec.CommandContext(t.Context(), filepath.Join(deploy, "check-door"), row.urls...).Run()
		if (err == nil) != row.good {
			t.Errorf("%q: %v", row.urls, err)
		}
	}
}

// systemd finds nothing wrong with the unit but that the program is not where it
// will be.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		missing(t, "THE UNIT WAS NOT LOOKED AT: systemd-analyze is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", filepath.Join(deploy, "postroad-door.service")).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "postroad-door.service") && !strings.Contains(line, "/usr/bin/postroad is not executable") {
			t.Errorf("%s (%v)", line, err)
		}
	}
}

// The manifests are YAML, and the settings in them, like those of the virtual
// machines, are good ones.
func TestSettings(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(deploy, "loadbalancer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files := []string{filepath.Join(deploy, "door.yaml")}
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	for {
		var doc struct {
			Kind string
			Data map[string]string
		}
		if err := dec.Decode(&doc); err == io.EOF { //nolint:errorlint // as the decoder returns it
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if doc.Kind == "ConfigMap" {
			files = append(files, filepath.Join(t.TempDir(), "door.yaml"))
			if err := os.WriteFile(files[1], []byte(doc.Data["door.yaml"]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(files) != 2 {
		t.Fatalf("files %q", files)
	}
	for _, file := range files {
		if out, err := exec.CommandContext(t.Context(), built.Path(t), "config", "check", "--config", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
