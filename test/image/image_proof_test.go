//go:build proof

package image

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"postroad/test/tree"
)

// The image is built from two folders, once with nothing in Go's cache and with
// settings in the environment that would make another one, and pushed to a registry
// of this machine.
func TestProofImage(t *testing.T) {
	dir, version := t.TempDir(), newVersion(t)
	root, copied := filepath.Join(dir, "here"), filepath.Join(dir, "elsewhere")
	copyTree(t, projectRoot(t), root)
	copyTree(t, root, copied)
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	first := digest(t, build(t, root, one, version))
	second := digest(t, build(t, copied, two, version, "GOCACHE="+filepath.Join(dir, "cache"),
		"GOFLAGS=-tags=other", "GOAMD64=v3", "GOARM64=v9.0", "GOEXPERIMENT=nogreenteagc", "CGO_ENABLED=1", "SOURCE_DATE_EPOCH=1700000000",
		"KO_DEFAULTPLATFORMS=linux/amd64", "KO_DEFAULTBASEIMAGE=other.invalid/base", "TZ=Asia/Tokyo"))
	if first != second {
		t.Errorf("the same source is %s, and elsewhere %s", first, second)
	}
	sameSBOMs(t, filepath.Join(one, "sbom"), filepath.Join(two, "sbom"))
	// Another version is another image: the digest does follow what is built.
	if third := digest(t, build(t, root, filepath.Join(dir, "other"), version+".1")); third == first {
		t.Errorf("another version is %s, too", third)
	}
	pushed(t, root, version, first, func(repository string) {
		build(t, root, filepath.Join(dir, "three"), version, "IMAGE_REPOSITORY="+repository)
	})
}

func sameSBOMs(t *testing.T, one, two string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(one, "*.json"))
	if err != nil || len(files) != 3 {
		t.Fatalf("SBOMs %q, %v", files, err)
	}
	for _, f := range files {
		a, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, filepath.Base(f)))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same elsewhere, %v", filepath.Base(f), err)
		}
	}
}

func digest(t *testing.T, l layout) string {
	t.Helper()
	d, err := l.root()
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	names, err := tree.Files(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

var serving = regexp.MustCompile(`serving on port (\d+)`)

// pushed starts a registry on this machine, lets push push to it and asks it what
// it has.
func pushed(t *testing.T, root, version, digest string, push func(repository string)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", "./test/verify", "tool", "crane", "registry", "serve", "--address", "127.0.0.1:0")
	cmd.Dir = root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Cancel(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // it was killed
	}()
	said, port := bufio.NewScanner(stderr), ""
	for port == "" && said.Scan() {
		if m := serving.FindStringSubmatch(said.Text()); m != nil {
			port = m[1]
		}
	}
	if port == "" {
		t.Fatal("no registry")
	}
	go io.Copy(io.Discard, stderr) // its log; ends with it
	push("127.0.0.1:" + port + "/postroad")
	for _, reference := range []string{version, digest, strings.Replace(digest, ":", "-", 1) + ".sbom"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://127.0.0.1:"+port+"/v2/postroad/manifests/"+reference, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		got := res.Header.Get("Docker-Content-Digest")
		if res.StatusCode != http.StatusOK || !strings.HasSuffix(reference, ".sbom") && got != digest {
			t.Errorf("the registry has %s of %s (%s), want %s", got, reference, res.Status, digest)
		}
	}
}
