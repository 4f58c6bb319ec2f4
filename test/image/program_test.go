package image

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machines are the architectures of the image, and what a program for one says.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// origin is what a program was made of: all of it, but for the architecture, as
// text; and the modules with their versions.
type origin struct {
	text    string
	modules map[string]string
}

// programOf looks at a program: of its architecture, static, and knowing the
// version.
func programOf(data []byte, arch, version string) (origin, []string) {
	var found []string
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return origin{}, []string{err.Error()}
	}
	if f.Machine != machines[arch] {
		found = append(found, "program of "+f.Machine.String())
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			found = append(found, "program is not static")
		}
	}
	if !bytes.Contains(data, []byte(version)) {
		found = append(found, "program knows nothing of "+version)
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return origin{}, append(found, err.Error())
	}
	if info.Path != "postroad/cmd/postroad" {
		found = append(found, "program is "+info.Path)
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, want := range map[string]string{"GOOS": "linux", "GOARCH": arch, "CGO_ENABLED": "0", "-trimpath": "true", cmp.Or(levels[arch], "none"): lowest[arch]} {
		if settings[key] != want {
			found = append(found, fmt.Sprintf("program was built with %s=%s", key, settings[key]))
		}
	}
	made := origin{modules: make(map[string]string)}
	info.Settings = nil
	made.text = info.String()
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		made.modules[d.Path] = d.Version
	}
	return made, found
}

// The least that a processor of an architecture can do, so that the program runs on
// all of them.
var (
	levels = map[string]string{"amd64": "GOAMD64", "arm64": "GOARM64"}
	lowest = map[string]string{"amd64": "v1", "arm64": "v8.0"}
)

type sbom struct {
	Version  string `json:"spdxVersion"`
	Name     string
	Packages []struct {
		Name    string
		Version string `json:"versionInfo"`
	}
}

// sbomProblems wants an SPDX document for each architecture and the index, and in
// those of the architectures every module that the program says it is made of.
func sbomProblems(dir string, made contents) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != len(made.digests) {
		return []string{fmt.Sprintf("%d SBOMs, %v", len(files), err)}
	}
	var found, of []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return []string{err.Error()}
		}
		var s sbom
		if err := json.Unmarshal(b, &s); err != nil || !strings.HasPrefix(s.Version, "SPDX-") {
			found = append(found, fmt.Sprintf("%s is %q, %v", filepath.Base(f), s.Version, err))
		}
		digest := strings.TrimPrefix(s.Name, "sbom-")
		of = append(of, digest)
		listed := make(map[string]string)
		for _, p := range s.Packages {
			listed[p.Name] = p.Version
		}
		for _, module := range slices.Sorted(maps.Keys(made.modules)) {
			if digest != made.digests[0] && listed[module] != made.modules[module] {
				found = append(found, fmt.Sprintf("%s has %s %q, and the program %q", filepath.Base(f), module, listed[module], made.modules[module]))
			}
		}
	}
	if slices.Sort(of); !slices.Equal(of, slices.Sorted(slices.Values(made.digests))) {
		found = append(found, fmt.Sprintf("SBOMs are of %q, and the images %q", of, made.digests))
	}
	if len(made.modules) < 10 {
		found = append(found, fmt.Sprintf("the program is made of %d modules only", len(made.modules)))
	}
	return found
}

// SBOMs of another image, with a module less or of another version, and one that is
// not there, are found.
func sabotagedSBOMsAreFound(t *testing.T, dir string, made contents) {
	for name, change := range map[string]func(path, text string) string{
		"another image": func(_, text string) string {
			return strings.Replace(text, `"name": "sbom-sha256:`, `"name": "sbom-sha256:0`, 1)
		},
		"a module less": func(_, text string) string { return strings.ReplaceAll(text, `"github.com/twmb/franz-go"`, `"x"`) },
		"another version": func(_, text string) string {
			return strings.ReplaceAll(text, made.modules["github.com/twmb/franz-go"], "v0.0.1")
		},
		"not SPDX": func(_, text string) string { return strings.ReplaceAll(text, "SPDX-2", "X-2") },
		"one less": func(path, text string) string {
			if strings.Contains(path, "arm64") {
				return ""
			}
			return text
		},
	} {
		changed := t.TempDir()
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if text := change(f, string(b)); text != "" {
				if err := os.WriteFile(filepath.Join(changed, filepath.Base(f)), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(sbomProblems(changed, made)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}
