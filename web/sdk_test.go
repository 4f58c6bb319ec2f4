package web_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "copy the SDK anew from the package that the lock file names")

// npmCI installs what sdk/package-lock.json names, by its sums, into a folder of
// the test's and returns that of the packages.
func npmCI(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("NO NPM: install nodejs and npm to compare the SDK with its package")
		}
		t.Skip("NO NPM: install nodejs and npm to compare the SDK with its package")
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		b, err := os.ReadFile(filepath.Join("sdk", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--prefer-offline", "--fetch-retries=2", "--fetch-retry-maxtimeout=5000")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && os.Getenv("CI") != "true" && regexp.MustCompile(`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH`).Match(out) {
		t.Skip("NO NETWORK: npm cannot fetch the package that the SDK is compared with")
	}
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules")
}

// licenses are those of the SDK and of what its maker built into the file.
func licenses(t *testing.T, modules string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, name := range []string{"centrifuge", "events"} {
		text, err := os.ReadFile(filepath.Join(modules, name, "LICENSE"))
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Version, License string }
		manifest, err := os.ReadFile(filepath.Join(modules, name, "package.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(manifest, &p); err != nil || p.License != "MIT" {
			t.Fatalf("%s is licensed as %q, %v", name, p.License, err)
		}
		fmt.Fprintf(&b, "%s %s\n\n%s\n\n", name, p.Version, bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
	}
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

// published is the SDK for browsers as its maker publishes it.
func published(t *testing.T, modules string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(modules, "centrifuge", "dist", "centrifuge.js"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSDK: the committed file is what the package of the lock file gives, byte by
// byte, and the package is the one that package.json asks for.
func TestSDK(t *testing.T) {
	modules := npmCI(t)
	for name, want := range map[string][]byte{"centrifuge.js": published(t, modules), "centrifuge.license.txt": licenses(t, modules)} {
		file := filepath.Join("sdk", name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the package gives (%v): go test ./web -run TestSDK -update", file, err)
		}
	}
}

// TestLockFile: it pins everything by sums and names no registry.
func TestLockFile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("sdk", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		t.Fatal(err)
	}
	if lock.Packages["node_modules/centrifuge"].Version == "" {
		t.Error("it does not name the SDK")
	}
	for name, p := range lock.Packages {
		if name != "" && (p.Resolved != "" || !strings.HasPrefix(p.Integrity, "sha512-")) {
			t.Errorf("%s: resolved %q, integrity %q", name, p.Resolved, p.Integrity)
		}
	}
}
