package workflows

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/test/tree"
)

// shells are all scripts of the repository: files that begin as one and may be run, and
// what steps of workflows run, which is written to files of its own. What scripts read
// in is looked at with them.
func shells(t *testing.T) map[string]string {
	t.Helper()
	names, err := tree.Files("../..")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	first := regexp.MustCompile(`^#!.*\b(ba|da)?sh\b`)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("../..", filepath.FromSlash(name))
		if info, err := os.Stat(path); err != nil {
			t.Fatal(err)
		} else if first.Match(data) && info.Mode()&0o111 != 0 {
			found[name] = path
		}
	}
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(folder, "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		for id, j := range parsed(t, read(t, name)).Jobs {
			for i, s := range j.Steps {
				if s.Run == "" {
					continue
				}
				step := fmt.Sprintf("%s-%s-%d", name, id, i)
				found[step] = filepath.Join(dir, step)
				if err := os.WriteFile(found[step], []byte("#!/usr/bin/env bash\nset -e\n"+s.Run+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return found
}

func shellcheck(t *testing.T, paths ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("NOT LOOKED AT: shellcheck is not installed")
	}
	var out bytes.Buffer
	// Left out are notes on what is meant: words of a file one by one, A && B || C, and
	// $ that is for another shell.
	args := []string{"--norc", "--format=gcc", "--external-sources", "--source-path=SCRIPTDIR", "--exclude=SC2013,SC2015,SC2016"}
	cmd := exec.CommandContext(t.Context(), "shellcheck", append(args, paths...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// Scripts, and what workflows run, have nothing that shellcheck finds.
func TestShellcheck(t *testing.T) {
	all := shells(t)
	for _, name := range []string{".ci/run", ".github/scripts/gate", "deploy/images/build", "deploy/gitops/promote", "deploy/nfs/setup-server", "deploy/keepalived/check-door", "ci.yml-test-3"} {
		if all[name] == "" {
			t.Errorf("%s is not looked at", name)
		}
	}
	var paths []string
	for _, path := range all {
		paths = append(paths, path)
	}
	if out, err := shellcheck(t, paths...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\nrm $1/*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := shellcheck(t, bad); err == nil || !strings.Contains(out, "SC2086") {
		t.Errorf("nothing is wrong with a bad script: %v\n%s", err, out)
	}
}
