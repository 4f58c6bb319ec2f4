package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// toolModules returns the folders below tools/, and tools/ itself, that pin
// tools in a go.mod of their own. There is more than one because two tools may
// need versions of a dependency that do not go together.
func toolModules(root string) ([]string, error) {
	var dirs []string
	for _, pattern := range []string{"tools/go.mod", "tools/*/go.mod"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			dirs = append(dirs, filepath.Dir(f))
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no module pins tools below tools/")
	}
	return dirs, nil
}

// tool runs one pinned tool with the given arguments in the project's root, or
// with -path prints where it is.
func (v *verifier) tool(ctx context.Context, args []string) error {
	pathOnly := len(args) > 0 && args[0] == "-path"
	if pathOnly {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(v.stderr, "verify: tool needs a name")
		return errUsage
	}
	bin, err := v.toolPath(ctx, args[0])
	if err != nil {
		return err
	}
	if pathOnly {
		fmt.Fprintln(v.stdout, bin)
		return nil
	}
	return v.command(ctx, bin, args[1:]...).Run()
}

// buildTools builds every pinned tool that is not in the cache.
func (v *verifier) buildTools(ctx context.Context) error {
	modules, err := toolModules(v.root)
	if err != nil {
		return err
	}
	for _, dir := range modules {
		packages, err := v.toolPackages(ctx, dir)
		if err != nil {
			return err
		}
		for _, pkg := range packages {
			if _, err := v.ensureTool(ctx, dir, pkg); err != nil {
				return err
			}
		}
	}
	return nil
}

// toolName is what the binary of a package is called: the end of its path, but
// for a major version, as go install has it.
func toolName(pkg string) string {
	name := path.Base(pkg)
	if n, ok := strings.CutPrefix(name, "v"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		name = path.Base(path.Dir(pkg))
	}
	return name
}

// toolPath returns the binary of the tool whose package path ends in name,
// building it first where it is not in the cache.
func (v *verifier) toolPath(ctx context.Context, name string) (string, error) {
	modules, err := toolModules(v.root)
	if err != nil {
		return "", err
	}
	var known []string
	for _, dir := range modules {
		packages, err := v.toolPackages(ctx, dir)
		if err != nil {
			return "", err
		}
		for _, pkg := range packages {
			if toolName(pkg) == name {
				return v.ensureTool(ctx, dir, pkg)
			}
			known = append(known, toolName(pkg))
		}
	}
	return "", fmt.Errorf("no tool %q below tools/: there are %s", name, strings.Join(known, ", "))
}

// toolPackages lists the tool directives of the module in dir.
func (v *verifier) toolPackages(ctx context.Context, dir string) ([]string, error) {
	out, err := v.output(ctx, "go", "-C", dir, "list", "tool")
	if err != nil {
		return nil, err
	}
	return strings.Fields(out), nil
}

// ensureTool returns the cached binary of pkg, after building it where needed.
// The build goes to a file of its own that is renamed, so that two runs at
// once do not disturb each other.
func (v *verifier) ensureTool(ctx context.Context, dir, pkg string) (string, error) {
	cache, err := v.toolCache(dir)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, toolName(pkg))
	if _, err := exec.LookPath(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make tool cache: %w", err)
	}
	tmp, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", fmt.Errorf("make tool cache: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a leftover in a cache does no harm

	fmt.Fprintf(v.stdout, "building %s into %s\n", pkg, cache)
	built := filepath.Join(tmp, toolName(pkg))
	cmd := v.command(ctx, "go", "-C", dir, "build", "-trimpath", "-ldflags", "-s -w", "-o", built, pkg)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	if err := os.Rename(built, bin); err != nil {
		return "", fmt.Errorf("keep %s: %w", pkg, err)
	}
	return bin, nil
}

// toolCache names the folder for the binaries of the module in dir: below the
// user's cache folder, by a hash of what is pinned and what builds it, so that
// a stale binary is never run. A machine without such a folder uses bin/.
func (v *verifier) toolCache(dir string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read pinned tools: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
	}
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	key := hex.EncodeToString(sum.Sum(nil))[:16]

	base, err := os.UserCacheDir()
	if err != nil { // without HOME there is none
		return filepath.Join(v.root, "bin", "tools", key), nil
	}
	return filepath.Join(base, "postroad", "tools", key), nil
}
