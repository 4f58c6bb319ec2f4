package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"postroad/test/tree"
)

var (
	builtFlag   = flag.String("built", "", "`folder` with an image that was built, to look at instead of building one")
	versionFlag = flag.String("version", "", "the version that it is of")
)

// program is where it lies in the image.
const program = "/ko-app/postroad"

func projectRoot(t *testing.T) string {
	t.Helper()
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// newVersion is one that no build has had.
func newVersion(t *testing.T) string {
	t.Helper()
	version := "1.2.3-" + strings.ToLower(rand.Text()[:12])
	t.Logf("version %s", version)
	return version
}

// build runs deploy/images/build in a copy of the sources.
func build(t *testing.T, from, out, version string, env ...string) layout {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "deploy/images/build")
	cmd.Dir = from
	cmd.Env = append(os.Environ(), append(env, "VERSION="+version, "OUT="+out)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build in %s: %v\n%s", from, err, b)
	}
	return layout(filepath.Join(out, "layout"))
}

// The image is built, or there is one that a release has built, and looked at; then it is changed in each point, which has to
// be noticed.
func TestImage(t *testing.T) {
	version, out := *versionFlag, *builtFlag
	if out == "" {
		version, out = newVersion(t), filepath.Join(t.TempDir(), "image")
		build(t, projectRoot(t), out, version)
	}
	l, look := layout(filepath.Join(out, "layout")), newLook(version)
	for _, problem := range look.problems(l) {
		t.Error(problem)
	}
	for _, problem := range sbomProblems(filepath.Join(out, "sbom"), look.made) {
		t.Error(problem)
	}
	if t.Failed() {
		return // what is changed has to be sound before
	}
	saysItsVersion(t, l, look)
	t.Run("sabotaged", func(t *testing.T) { sabotagedAreFound(t, l, look) })
	t.Run("sboms", func(t *testing.T) { sabotagedSBOMsAreFound(t, filepath.Join(out, "sbom"), look.made) })
}

// saysItsVersion runs the program of this machine's architecture.
func saysItsVersion(t *testing.T, l layout, look *look) {
	t.Helper()
	all, err := l.images()
	if err != nil {
		t.Fatal(err)
	}
	own, ok := all[runtime.GOARCH]
	if !ok {
		t.Fatalf("no program for %s to run", runtime.GOARCH)
	}
	files, err := look.files(l, own)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "postroad")
	if err := os.WriteFile(path, files[program].data, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "version")
	cmd.Env = []string{} // as there is nothing in the image, either
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), look.version) {
		t.Errorf("the program says %q, %v, and not %s", out, err, look.version)
	}
}

// look is how an image of a version is looked at. Layers that were unpacked are
// kept, for images that were changed share them.
type look struct {
	version string
	layers  map[string]layer
	// made are the modules that the program is made of, with their versions, and
	// the digests of the index and the images: what SBOMs have to tell of.
	made contents
}

type contents struct {
	modules map[string]string
	digests []string
}

func newLook(version string) *look { return &look{version: version, layers: make(map[string]layer)} }

// problems are what is wrong with an image.
func (k *look) problems(l layout) []string {
	all, err := l.images()
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	made := make(map[string]origin)
	for _, arch := range slices.Sorted(maps.Keys(machines)) {
		i, ok := all[arch]
		if !ok {
			found = append(found, "no "+arch)
			continue
		}
		b, problems := k.image(l, i, arch)
		for _, problem := range problems {
			found = append(found, arch+": "+problem)
		}
		made[arch] = b
	}
	if len(all) != len(machines) {
		found = append(found, fmt.Sprintf("%d architectures", len(all)))
	}
	if len(found) > 0 {
		return found
	}
	if made["amd64"].text != made["arm64"].text {
		return []string{fmt.Sprintf("the programs are not of the same:\n%s\n%s", made["amd64"].text, made["arm64"].text)}
	}
	index, err := l.root()
	if err != nil {
		return []string{err.Error()}
	}
	k.made = contents{modules: made["amd64"].modules, digests: []string{index.Digest, all["amd64"].digest, all["arm64"].digest}}
	return nil
}

// image looks at one architecture's.
func (k *look) image(l layout, i image, arch string) (origin, []string) {
	var found []string
	config := i.config.Config
	if config.User != "65532:65532" {
		found = append(found, "runs as "+config.User)
	}
	if got := config.Labels["org.opencontainers.image.version"]; got != k.version {
		found = append(found, "is labelled "+got)
	}
	if !slices.Equal(config.Entrypoint, []string{program}) || len(config.Cmd) > 0 {
		found = append(found, fmt.Sprintf("starts %q %q", config.Entrypoint, config.Cmd))
	}
	for _, e := range config.Env {
		if name, _, _ := strings.Cut(e, "="); name != "PATH" && name != "KO_DATA_PATH" {
			found = append(found, "sets "+e)
		}
	}
	files, err := k.files(l, i)
	if err != nil {
		return origin{}, append(found, err.Error())
	}
	if len(files) != 1 || files[program].data == nil {
		return origin{}, append(found, fmt.Sprintf("holds %q", slices.Sorted(maps.Keys(files))))
	}
	if mode := files[program].mode; mode != 0o555 {
		found = append(found, fmt.Sprintf("its program has the mode %v", mode))
	}
	b, problems := programOf(files[program].data, arch, k.version)
	return b, append(found, problems...)
}

// layer is what a layer holds, but for folders, and the digest of it unpacked.
type layer struct {
	files  map[string]file
	diffID string
}

type file struct {
	mode fs.FileMode
	data []byte
}

// files are those of all layers of an image, which have to be the ones that its
// configuration names.
func (k *look) files(l layout, i image) (map[string]file, error) {
	all := make(map[string]file)
	var diffIDs []string
	for _, d := range i.layers {
		b, err := l.blob(d)
		if err != nil {
			return nil, err
		}
		one, ok := k.layers[d.Digest]
		if !ok {
			if one, err = unpacked(b); err != nil {
				return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			k.layers[d.Digest] = one
		}
		maps.Copy(all, one.files)
		diffIDs = append(diffIDs, one.diffID)
	}
	if !slices.Equal(diffIDs, i.config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("layers are %q, and the configuration says %q", diffIDs, i.config.RootFS.DiffIDs)
	}
	return all, nil
}

func unpacked(blob []byte) (layer, error) {
	z, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		return layer{}, err
	}
	whole, err := io.ReadAll(z)
	if err != nil {
		return layer{}, err
	}
	sum := sha256.Sum256(whole)
	found := layer{files: make(map[string]file), diffID: "sha256:" + hex.EncodeToString(sum[:])}
	for r := tar.NewReader(bytes.NewReader(whole)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return layer{}, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return layer{}, err
		}
		found.files["/"+strings.TrimPrefix(h.Name, "/")] = file{h.FileInfo().Mode(), data}
	}
}
