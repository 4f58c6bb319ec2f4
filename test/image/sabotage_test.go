package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// draft is an image that is being changed: its parts as they are on disk, by
// architecture.
type draft struct {
	dir    string
	images map[string]*part
}

type part struct {
	platform map[string]any
	manifest map[string]any
	config   map[string]any
}

// Each sabotaged image is sound but for what is wrong with it: its digests are those
// of its bytes.
func sabotagedAreFound(t *testing.T, l layout, look *look) {
	for _, row := range []struct {
		name    string
		change  func(t *testing.T, d *draft)
		problem string
	}{
		{"an architecture less", func(_ *testing.T, d *draft) { delete(d.images, "arm64") }, "no arm64"},
		{"an architecture more", func(_ *testing.T, d *draft) { d.add("s390x") }, "3 architectures"},
		{"root by default", func(_ *testing.T, d *draft) { delete(d.settings("arm64"), "User") }, "arm64: runs as "},
		{"root by number", func(_ *testing.T, d *draft) { d.settings("amd64")["User"] = "0:0" }, "amd64: runs as 0:0"},
		{"the other architecture's program", swapped, "arm64: program of EM_X86_64"},
		{"the index says another one", func(_ *testing.T, d *draft) { d.images["arm64"].platform["architecture"] = "amd64" }, "index says"},
		{"a shell", func(t *testing.T, d *draft) {
			d.layer(t, "amd64", tar.Header{Name: "bin/sh", Mode: 0o755}, []byte("#!"))
		}, "amd64: holds"},
		{"a link", func(t *testing.T, d *draft) {
			d.layer(t, "arm64", tar.Header{Name: "sh", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/exe"}, nil)
		}, "arm64: holds"},
		{"another user's rights", func(t *testing.T, d *draft) {
			d.program(t, l, look, "amd64", 0o4555, func(b []byte) []byte { return b })
		}, "has the mode"},
		{"an older program", func(t *testing.T, d *draft) {
			d.program(t, l, look, "arm64", 0o555, func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(look.version), bytes.Repeat([]byte("x"), len(look.version)))
			})
		}, "arm64: program knows nothing of"},
		{"a program of something else", func(t *testing.T, d *draft) {
			d.program(t, l, look, "arm64", 0o555, func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte("dep\tgithub.com/twmb/franz-go\t"), []byte("dep\tgithub.com/twmb/franz-og\t"))
			})
		}, "not of the same"},
		{"no program", func(t *testing.T, d *draft) {
			d.layer(t, "amd64", tar.Header{Name: program, Mode: 0o555}, []byte("#!/bin/sh\nexec something else\n"))
		}, "bad magic number"},
		{"another label", func(_ *testing.T, d *draft) {
			d.settings("arm64")["Labels"] = map[string]any{"org.opencontainers.image.version": "9.9.9"}
		}, "is labelled 9.9.9"},
		{"another command", func(_ *testing.T, d *draft) { d.settings("amd64")["Entrypoint"] = []any{"/bin/sh"} }, "starts"},
		{"a setting of ours", func(_ *testing.T, d *draft) { d.settings("amd64")["Env"] = []any{"POSTROAD_LOG_LEVEL=debug"} }, "sets POSTROAD_LOG_LEVEL"},
		{"layers that the configuration does not name", func(_ *testing.T, d *draft) {
			d.images["amd64"].config["rootfs"].(map[string]any)["diff_ids"] = []any{}
		}, "the configuration says"},
	} {
		d := drafted(t, l)
		row.change(t, d)
		if problems := look.problems(d.written(t)); !strings.Contains(strings.Join(problems, "\n"), row.problem) {
			t.Errorf("%s: found %q, want %q", row.name, problems, row.problem)
		}
	}
	broken := drafted(t, l).written(t)
	truncated(t, broken)
	if problems := look.problems(broken); !strings.Contains(strings.Join(problems, "\n"), "other bytes") {
		t.Errorf("bytes that are not those of their digest: found %q", problems)
	}
}

// drafted is an image taken apart. Blobs that stay as they are, are links to its own.
func drafted(t *testing.T, l layout) *draft {
	t.Helper()
	d := &draft{dir: t.TempDir(), images: make(map[string]*part)}
	if err := os.MkdirAll(filepath.Join(d.dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(string(l), "blobs", "sha256", "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("blobs %q, %v", names, err)
	}
	for _, name := range names {
		path, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(d.dir, "blobs", "sha256", filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	top, err := l.root()
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Manifests []map[string]any }
	if err := l.decode(top, &index); err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		p := &part{platform: m["platform"].(map[string]any)}
		d.decode(t, m, &p.manifest)
		d.decode(t, p.manifest["config"].(map[string]any), &p.config)
		d.images[p.platform["architecture"].(string)] = p
	}
	return d
}

func (d *draft) blob(digest string) string {
	return filepath.Join(d.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (d *draft) decode(t *testing.T, descriptor map[string]any, into any) {
	t.Helper()
	b, err := os.ReadFile(d.blob(descriptor["digest"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// put writes a blob and returns its descriptor.
func (d *draft) put(t *testing.T, mediaType string, b []byte) map[string]any {
	t.Helper()
	sum := sha256.Sum256(b)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	path := d.blob(digest)
	if _, err := os.Lstat(path); err != nil { // else it is there, and another image's too
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]any{"mediaType": mediaType, "digest": digest, "size": len(b)}
}

func (d *draft) putJSON(t *testing.T, mediaType string, what any) map[string]any {
	t.Helper()
	b, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	return d.put(t, mediaType, b)
}

const media = "application/vnd.oci.image."

// written puts the image together again.
func (d *draft) written(t *testing.T) layout {
	t.Helper()
	var all []any
	for _, p := range d.images {
		p.manifest["config"] = d.putJSON(t, media+"config.v1+json", p.config)
		m := d.putJSON(t, media+"manifest.v1+json", p.manifest)
		m["platform"] = p.platform
		all = append(all, m)
	}
	const kind = media + "index.v1+json"
	index := d.putJSON(t, kind, map[string]any{"schemaVersion": 2, "mediaType": kind, "manifests": all})
	b, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{index}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "index.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return layout(d.dir)
}

// settings are what a container is started with.
func (d *draft) settings(arch string) map[string]any {
	return d.images[arch].config["config"].(map[string]any)
}

// add makes an image for one more architecture of the program for amd64.
func (d *draft) add(arch string) {
	p := *d.images["amd64"]
	p.config = map[string]any{"architecture": arch, "os": "linux", "config": p.config["config"], "rootfs": p.config["rootfs"]}
	p.platform = map[string]any{"architecture": arch, "os": "linux"}
	p.manifest = map[string]any{"schemaVersion": 2, "mediaType": p.manifest["mediaType"], "layers": p.manifest["layers"]}
	d.images[arch] = &p
}

// swapped gives arm64 the program of amd64.
func swapped(_ *testing.T, d *draft) {
	d.images["arm64"].manifest["layers"] = d.images["amd64"].manifest["layers"]
	d.images["arm64"].config["rootfs"] = d.images["amd64"].config["rootfs"]
}

// layer adds a layer with one file.
func (d *draft) layer(t *testing.T, arch string, h tar.Header, data []byte) {
	t.Helper()
	var unpacked, packed bytes.Buffer
	w := tar.NewWriter(&unpacked)
	h.Size = int64(len(data))
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression) // for it takes time
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(unpacked.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p := d.images[arch]
	layers, _ := p.manifest["layers"].([]any)
	p.manifest["layers"] = append(layers, d.put(t, media+"layer.v1.tar+gzip", packed.Bytes()))
	sum := sha256.Sum256(unpacked.Bytes())
	root := p.config["rootfs"].(map[string]any)
	ids, _ := root["diff_ids"].([]any)
	root["diff_ids"] = append(ids, "sha256:"+hex.EncodeToString(sum[:]))
}

// program covers the program by a changed one.
func (d *draft) program(t *testing.T, l layout, look *look, arch string, mode int64, change func([]byte) []byte) {
	t.Helper()
	all, err := l.images()
	if err != nil {
		t.Fatal(err)
	}
	files, err := look.files(l, all[arch])
	if err != nil {
		t.Fatal(err)
	}
	was := files[program].data
	is := change(bytes.Clone(was))
	if mode == 0o555 && bytes.Equal(was, is) {
		t.Fatal("nothing to change in the program")
	}
	d.layer(t, arch, tar.Header{Name: program, Mode: mode}, is)
}

// truncated takes the last byte of a layer away.
func truncated(t *testing.T, l layout) {
	t.Helper()
	all, err := l.images()
	if err != nil {
		t.Fatal(err)
	}
	layers := all["amd64"].layers
	path := filepath.Join(string(l), "blobs", "sha256", strings.TrimPrefix(layers[len(layers)-1].Digest, "sha256:"))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // the link, for the file is the good image's
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-1], fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
}
