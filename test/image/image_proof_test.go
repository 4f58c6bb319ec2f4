//go:build proof

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postroad/test/tree"
)

// The image is built from two folders, once with nothing in Go's cache, pushed
// to a registry of this machine, and looked at.
func TestProofImage(t *testing.T) {
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	version := "1.2.3-" + strings.ToLower(rand.Text()[:12])
	t.Logf("version %s", version)
	dir := t.TempDir()
	run := func(from, out string, env ...string) layout {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "deploy/images/build")
		cmd.Dir = from
		cmd.Env = append(os.Environ(), append(env, "VERSION="+version, "OUT="+out)...)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build in %s: %v\n%s", from, err, b)
		}
		return layout(filepath.Join(out, "layout"))
	}
	copied := filepath.Join(dir, "elsewhere")
	copyTree(t, root, copied)
	one := run(root, filepath.Join(dir, "one"))
	two := run(copied, filepath.Join(dir, "two"), "GOCACHE="+filepath.Join(dir, "cache"))
	first, second := digest(t, one), digest(t, two)
	if first != second {
		t.Errorf("the same source is %s, and from another folder %s", first, second)
	}
	for _, problem := range problems(t, one, version) {
		t.Error(problem)
	}
	for _, problem := range sbomProblems(filepath.Join(dir, "one", "sbom")) {
		t.Error(problem)
	}
	// The checks are not content with just anything.
	if len(problems(t, one, "9.9.9")) == 0 || len(problems(t, layout(filepath.Join(root, "deploy/images/base")), version)) == 0 || len(sbomProblems(dir)) == 0 {
		t.Error("another version, an empty image or no SBOM would not be noticed")
	}
	pushed(t, root, version, first, func(repository string) { run(root, filepath.Join(dir, "three"), "IMAGE_REPOSITORY="+repository) })
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

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// problems are what is wrong with an image of a version.
func problems(t *testing.T, l layout, version string) []string {
	t.Helper()
	all, err := l.images()
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for arch, machine := range machines {
		i, ok := all[arch]
		if !ok {
			found = append(found, "no "+arch)
			continue
		}
		for _, problem := range imageProblems(t, l, i, machine, version) {
			found = append(found, arch+": "+problem)
		}
	}
	if len(all) != len(machines) {
		found = append(found, fmt.Sprintf("%d architectures", len(all)))
	}
	return found
}

func imageProblems(t *testing.T, l layout, i image, machine elf.Machine, version string) []string {
	t.Helper()
	var found []string
	if i.config.Config.User != "65532:65532" {
		found = append(found, "runs as "+i.config.Config.User)
	}
	if got := i.config.Config.Labels["org.opencontainers.image.version"]; got != version {
		found = append(found, "is labelled "+got)
	}
	files, err := l.files(i.layers)
	if err != nil {
		return append(found, err.Error())
	}
	if len(files) != 1 || !slices.Equal(i.config.Config.Entrypoint, []string{"/ko-app/postroad"}) || files["/ko-app/postroad"] == nil {
		return append(found, fmt.Sprintf("holds %d files, starts %v", len(files), i.config.Config.Entrypoint))
	}
	return append(found, programProblems(t, files["/ko-app/postroad"], machine, version)...)
}

// files are those of all layers.
func (l layout) files(layers []descriptor) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, d := range layers {
		b, err := l.blob(d)
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if h.Typeflag == tar.TypeDir {
				continue
			}
			if all[h.Name], err = io.ReadAll(r); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// programProblems looks at the program: of its machine, static, and saying the
// version. Where this machine can, it is run.
func programProblems(t *testing.T, program []byte, machine elf.Machine, version string) []string {
	t.Helper()
	var found []string
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return []string{err.Error()}
	}
	if f.Machine != machine {
		found = append(found, "program of "+f.Machine.String())
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			found = append(found, "program is not static")
		}
	}
	if info, err := buildinfo.Read(bytes.NewReader(program)); err != nil || info.Main.Path != "postroad" {
		found = append(found, fmt.Sprintf("program of %v, %v", info, err))
	}
	if !bytes.Contains(program, []byte(version)) {
		found = append(found, "program knows nothing of "+version)
	}
	if machines[runtime.GOARCH] != machine {
		return found
	}
	path := filepath.Join(t.TempDir(), "postroad")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), version) {
		found = append(found, fmt.Sprintf("program says %q, %v", out, err))
	}
	return found
}

// sbomProblems wants an SPDX document for each architecture and the index.
func sbomProblems(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 3 {
		return []string{fmt.Sprintf("%d SBOMs, %v", len(files), err)}
	}
	var found []string
	listed := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return []string{err.Error()}
		}
		var s struct {
			Version  string `json:"spdxVersion"`
			Packages []struct{ Name string }
		}
		if err := json.Unmarshal(b, &s); err != nil || !strings.HasPrefix(s.Version, "SPDX-") {
			found = append(found, fmt.Sprintf("%s is %q, %v", filepath.Base(f), s.Version, err))
		}
		if slices.ContainsFunc(s.Packages, func(p struct{ Name string }) bool { return p.Name == "github.com/twmb/franz-go" }) {
			listed++
		}
	}
	if listed != 2 {
		found = append(found, fmt.Sprintf("%d SBOMs list what the program is made of", listed))
	}
	return found
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
