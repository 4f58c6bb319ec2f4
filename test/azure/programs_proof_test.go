//go:build proof

package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A program is a module that builds one, pinned by the hash of its source: that
// source is built as its authors build it, with the versions of its own go.sum.
type program struct {
	name, module, version, sum, pkg string
	// calls is what the source says its version is.
	calls string
	// limit ends the build. On two idle cores each takes half of it or less.
	limit time.Duration
}

var (
	opentofu = program{
		name: "tofu", module: "github.com/opentofu/opentofu", version: "v1.10.10",
		sum: "h1:ELFHOkY0x/bHvkgBP4KK3i7Y19CSFuHOyeZOLc0cqWY=", pkg: "./cmd/tofu",
		calls: "1.10.10", limit: 12 * time.Minute,
	}
	// azurerm has no tag of its major version that Go knows of, so its commit is named.
	azurerm = program{
		name: "terraform-provider-azurerm", module: "github.com/hashicorp/terraform-provider-azurerm",
		version: "v1.44.1-0.20260824201233-fae580791926",
		sum:     "h1:SOgvTJZXNyxmkHHHx8ifgotbvhOi/eadVkoyBNr+4hk=", pkg: ".",
		calls: "5.2.0", limit: 40 * time.Minute,
	}
)

// tools are both programs, and a configuration that makes tofu use the provider
// and ask nobody for another.
type tools struct {
	tofu, config string
}

// ready builds what is not built yet. Where POSTROAD_TOFU names an OpenTofu, that
// and the registry it asks are used instead, for machines that reach one.
func ready(t *testing.T) tools {
	t.Helper()
	if tofu := os.Getenv("POSTROAD_TOFU"); tofu != "" {
		return using(t, tofu, installed(t, tofu))
	}
	// One after the other: linking the provider alone wants some 4 GiB.
	tofu := opentofu.built(t)
	return using(t, tofu, azurerm.built(t))
}

// installed lets tofu get the provider, of the version that is pinned.
func installed(t *testing.T, tofu string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("terraform {\n  required_providers {\n    azurerm = {\n      source = %q\n      version = %q\n    }\n  }\n}\n", "hashicorp/azurerm", azurerm.calls)
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := (tools{tofu: tofu}).run(t.Context(), dir, "init", "-input=false"); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, ".terraform", "providers", "*", "*", "*", "*", "*", azurerm.name+"*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the provider is not where it was installed: %q, %v", found, err)
	}
	return found[0]
}

func using(t *testing.T, tofu, provider string) tools {
	t.Helper()
	config := filepath.Join(t.TempDir(), "tofu.rc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    %q = %q\n  }\n}\n", "hashicorp/azurerm", filepath.Dir(provider))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return tools{tofu, config}
}

// Both programs can be had, within the time of a stage. Where this was cut short, the
// next one goes on from what Go keeps of what it compiled.
func TestProofAzurePrograms(t *testing.T) {
	w := ready(t)
	if out, err := w.run(t.Context(), t.TempDir(), "version"); err != nil || !strings.Contains(out, "OpenTofu v"+opentofu.calls) {
		t.Errorf("%s: %v", out, err)
	}
	for _, env := range []string{"dev", "prod"} {
		if v := captures(text(t, deploy, "envs", env, "versions.tf"), `(?m)^      version = "([^"]+)"`); !slices.Equal(v, []string{azurerm.calls}) {
			t.Errorf("%s asks for azurerm %q, tested is %s", env, v, azurerm.calls)
		}
	}
}

// built returns the program, from the user's cache where it is there. A build goes
// to a folder of its own and is renamed: two runs at once do not disturb each other.
func (p program) built(t *testing.T) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil { // without HOME there is none
		base = os.TempDir()
	}
	key := sha256.Sum256(fmt.Appendln(nil, p.module, p.version, p.sum, runtime.Version(), runtime.GOOS, runtime.GOARCH))
	dir := filepath.Join(base, "postroad", "azure", fmt.Sprintf("%s-%x", p.name, key[:8]))
	bin := filepath.Join(dir, p.name)
	if _, err := exec.LookPath(bin); err == nil {
		return bin
	}
	// Beside where it goes, since a rename leads to no other file system.
	tmp := fmt.Sprintf("%s.%d", dir, os.Getpid())
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(t.Context(), p.limit)
	defer cancel()
	start := time.Now()
	if err := p.build(ctx, t, filepath.Join(tmp, p.name)); err != nil {
		t.Fatalf("%s: after %v: %v", p.name, time.Since(start).Round(time.Second), err)
	}
	t.Logf("%s %s built in %v", p.name, p.calls, time.Since(start).Round(time.Second))
	if err := os.Rename(tmp, dir); err != nil {
		if _, there := exec.LookPath(bin); there != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func (p program) build(ctx context.Context, t *testing.T, out string) error {
	t.Helper()
	source, err := p.source(ctx)
	if err != nil {
		if ctx.Err() == nil && os.Getenv("CI") != "true" {
			t.Skipf("deploy/azure WAS NOT TESTED: the source of %s: %v", p.name, err)
		}
		return err
	}
	_, err = goCommand(ctx, source, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", out, p.pkg)
	return err
}

// source is the folder with the module's source, which is what is pinned.
func (p program) source(ctx context.Context) (string, error) {
	out, err := goCommand(ctx, os.TempDir(), "mod", "download", "-json", p.module+"@"+p.version)
	if err != nil {
		return "", err
	}
	var got struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("read what go mod download says: %w", err)
	}
	if got.Sum != p.sum {
		return "", fmt.Errorf("the source is %s, not %s", got.Sum, p.sum)
	}
	version, err := os.ReadFile(filepath.Join(got.Dir, "version", "VERSION"))
	if err != nil {
		return "", fmt.Errorf("read its version: %w", err)
	}
	if v := strings.TrimSpace(string(version)); v != p.calls {
		return "", fmt.Errorf("the source calls itself %s, not %s", v, p.calls)
	}
	return got.Dir, nil
}

// goCommand runs go outside of this module, without cgo, and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// Its compilers are given up on, too, soon after it is.
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], errors.Join(context.Cause(ctx), err), stderr.Bytes())
	}
	return out, nil
}
