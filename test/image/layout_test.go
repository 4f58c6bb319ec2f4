package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layout is a folder in the OCI image layout.
type layout string

type descriptor struct {
	MediaType, Digest string
	Size              int64
	Platform          struct{ Architecture, OS string }
}

type manifest struct {
	Config    descriptor
	Layers    []descriptor
	Manifests []descriptor
}

type imageConfig struct {
	Architecture, OS string
	Config           struct {
		User                 string
		Entrypoint, Cmd, Env []string
		Labels               map[string]string
	}
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// blob reads a blob, whose bytes must be those of its digest.
func (l layout) blob(d descriptor) ([]byte, error) {
	name, ok := strings.CutPrefix(d.Digest, "sha256:")
	if !ok {
		return nil, fmt.Errorf("digest %q", d.Digest)
	}
	b, err := os.ReadFile(filepath.Join(string(l), "blobs", "sha256", name))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != name || int64(len(b)) != d.Size {
		return nil, fmt.Errorf("%s has other bytes, %d of them", d.Digest, len(b))
	}
	return b, nil
}

func (l layout) decode(d descriptor, into any) error {
	b, err := l.blob(d)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// root is the one image that the layout holds.
func (l layout) root() (descriptor, error) {
	b, err := os.ReadFile(filepath.Join(string(l), "index.json"))
	if err != nil {
		return descriptor{}, err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return descriptor{}, err
	}
	// ko looks for the parts of the base here, too.
	indexes := slices.DeleteFunc(m.Manifests, func(d descriptor) bool { return d.MediaType != "application/vnd.oci.image.index.v1+json" })
	if len(indexes) != 1 {
		return descriptor{}, fmt.Errorf("%d images, want one", len(indexes))
	}
	return indexes[0], nil
}

// image is one architecture's.
type image struct {
	digest string
	config imageConfig
	layers []descriptor
}

// images are those of the index, by architecture.
func (l layout) images() (map[string]image, error) {
	d, err := l.root()
	if err != nil {
		return nil, err
	}
	var index manifest
	if err := l.decode(d, &index); err != nil {
		return nil, err
	}
	all := map[string]image{}
	for _, d := range index.Manifests {
		var m manifest
		if err := l.decode(d, &m); err != nil {
			return nil, err
		}
		i := image{digest: d.Digest, layers: m.Layers}
		if err := l.decode(m.Config, &i.config); err != nil {
			return nil, err
		}
		if d.Platform.OS != "linux" || i.config.OS != "linux" || d.Platform.Architecture != i.config.Architecture {
			return nil, fmt.Errorf("index says %v of %s/%s", d.Platform, i.config.OS, i.config.Architecture)
		}
		if all[i.config.Architecture].config.OS != "" {
			return nil, fmt.Errorf("%s is there twice", i.config.Architecture)
		}
		all[i.config.Architecture] = i
	}
	return all, nil
}

// emptyProblems says what is wrong with a base: it has both architectures, no
// layer, and another user than root.
func emptyProblems(l layout) []string {
	all, err := l.images()
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, arch := range []string{"amd64", "arm64"} {
		i, ok := all[arch]
		switch {
		case !ok:
			found = append(found, "no "+arch)
		case len(i.layers) != 0 || len(i.config.RootFS.DiffIDs) != 0:
			found = append(found, arch+" has layers")
		case i.config.Config.User != "65532:65532":
			found = append(found, arch+" runs as "+i.config.Config.User)
		}
	}
	if len(all) != 2 {
		found = append(found, fmt.Sprintf("%d architectures", len(all)))
	}
	return found
}

const deploy = "../../deploy/images"

// The base is empty, and the one that the build names.
func TestBase(t *testing.T) {
	l := layout(deploy + "/base")
	for _, problem := range emptyProblems(l) {
		t.Error(problem)
	}
	d, err := l.root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(deploy + "/.ko.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "@"+d.Digest+"\n") {
		t.Errorf("the build is on another base than %s", d.Digest)
	}
}

// A base with another user, with one architecture, or with bytes that are not
// those of their digest is found.
func TestBaseProblemsAreFound(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"user": func(s string) string { return strings.ReplaceAll(s, "65532:65532", "00000:00000") },
		"arch": func(s string) string {
			return strings.ReplaceAll(s, `"architecture":"arm64"`, `"architecture":"amd64"`)
		},
		"layer": func(s string) string { return strings.ReplaceAll(s, `"layers":[]`, `"layers":[{"size":1}]`) },
	} {
		if len(emptyProblems(rewritten(t, change, true))) == 0 {
			t.Errorf("%s: not found", name)
		}
		if len(emptyProblems(rewritten(t, change, false))) == 0 {
			t.Errorf("%s, with the old digests: not found", name)
		}
	}
}

// rewritten is the base with the text of its blobs changed; with new digests, it
// is sound but for what was changed.
func rewritten(t *testing.T, change func(string) string, digests bool) layout {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(deploy+"/base")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(change(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if digests {
		d, err := layout(dir).root()
		if err != nil {
			t.Fatal(err)
		}
		renew(t, dir, &d)
		b, err := json.Marshal(manifest{Manifests: []descriptor{d}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return layout(dir)
}

// renew gives a blob, and first those that it names, the digests of their bytes.
// The recursion ends at configurations: index, manifest, configuration.
func renew(t *testing.T, dir string, d *descriptor) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(d.Digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	named, _ := m["manifests"].([]any)
	if c, ok := m["config"].(map[string]any); ok && c["digest"] != nil {
		named = append(named, c)
	}
	for _, n := range named {
		n := n.(map[string]any)
		inner := descriptor{Digest: n["digest"].(string)}
		renew(t, dir, &inner)
		n["digest"], n["size"] = inner.Digest, inner.Size
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	d.Digest, d.Size = "sha256:"+hex.EncodeToString(sum[:]), int64(len(text))
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", hex.EncodeToString(sum[:])), text, 0o600); err != nil {
		t.Fatal(err)
	}
}
