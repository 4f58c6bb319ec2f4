package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFailedStageDoesNotStopTheNext(t *testing.T) {
	var out bytes.Buffer
	v := &verifier{stdout: &out, notes: []string{"no race detector"}}
	var ran []string
	step := func(name string, err error) stage {
		return stage{name: name, run: func(context.Context) error { ran = append(ran, name); return err }}
	}
	err := v.runStages(t.Context(), []stage{step("first", nil), step("second", errors.New("broken")), step("third", nil)})
	if err == nil || !strings.Contains(err.Error(), "1 of 3 stages failed") {
		t.Fatalf("runStages = %v", err)
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(ran, want) {
		t.Fatalf("ran %q, want %q", ran, want)
	}
	for _, want := range []string{"FAILED: second: broken", "NOTE: no race detector"} {
		if !strings.Contains(out.String(), want) {
			t.Fatalf("printed\n%s\nwithout %q", out.String(), want)
		}
	}
}

func TestAStageOverItsLimitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		v := &verifier{stdout: &out}
		err := v.runStages(t.Context(), []stage{{"slow", time.Minute, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}})
		if err == nil || !strings.Contains(out.String(), "took longer than 1m0s") {
			t.Fatalf("runStages = %v, printed\n%s", err, out.String())
		}
	})
}

func TestAnInterruptedRunIsNoSuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	v := &verifier{stdout: &out}
	err := v.runStages(ctx, []stage{
		{name: "first", run: func(context.Context) error { cancel(); return nil }},
		{name: "never", run: func(context.Context) error { t.Error("ran after the interrupt"); return nil }},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("runStages = %v, want canceled", err)
	}
}

func TestChooseRefusesAnUnknownStage(t *testing.T) {
	stages := []stage{{name: "vet"}, {name: "lint"}}
	if _, err := choose(stages, "vet,lnit"); err == nil {
		t.Fatal("choose took a stage that does not exist")
	}
	got, err := choose(stages, "lint")
	if err != nil || len(got) != 1 || got[0].name != "lint" {
		t.Fatalf("choose = %v, %v", got, err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"tset"}, {"tool"}, {"test", "-fast"}, {"test", "./..."}, {"test", "-only", "nope"}, {"proof", "-fuzztime", "2h"}, {"proof", "-run", "("}} {
		var out, errOut bytes.Buffer
		if code := run(args, &out, &errOut); code != 2 || errOut.Len() == 0 {
			t.Errorf("run %q = %d, said %q; want 2 and why", args, code, errOut.String())
		}
	}
}

func TestWithoutACompilerTheNoteIsLoudAndCIFails(t *testing.T) {
	t.Setenv("CC", "no-such-compiler")
	v, out := module(t, map[string]string{"m_test.go": "package m\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n"})
	if err := v.tests(t.Context()); err != nil {
		t.Fatalf("tests = %v\n%s", err, out)
	}
	if len(v.notes) != 1 || !strings.Contains(v.notes[0], "no-such-compiler") {
		t.Fatalf("notes = %q", v.notes)
	}
	v.ci = true
	if err := v.tests(t.Context()); err == nil || !strings.Contains(err.Error(), "race detector cannot run") {
		t.Fatalf("tests under CI = %v, want a failure", err)
	}
}

func TestFindKnowsTestFunctions(t *testing.T) {
	v, _ := module(t, map[string]string{
		"a/a.go":            "package a\n",
		"a/a_test.go":       "package a\n\nfunc FuzzRead() {}\n\nfunc Fuzzy() {}\n\ntype x struct{}\n\nfunc (x) FuzzMethod() {}\n",
		"b/b_test.go":       "package b_test\n\nfunc FuzzWrite() {}\n\nfunc Fuzz() {}\n",
		"b/b_proof_test.go": "//go:build proof\n\npackage b_test\n\nfunc TestProofKill() {}\n",
	})
	for prefix, want := range map[string][]target{
		"Fuzz":      {{"example.test/m/a", "FuzzRead"}, {"example.test/m/b", "FuzzWrite"}, {"example.test/m/b", "Fuzz"}},
		"TestProof": {{"example.test/m/b", "TestProofKill"}},
		"Benchmark": nil,
	} {
		got, err := v.find(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("find %s = %v, want %v", prefix, got, want)
		}
	}
}

func TestGeneratedFindsWhatIsStale(t *testing.T) {
	v, _ := module(t, map[string]string{
		"a/a.go":      "package a\n\n//go:generate cp in.txt out.txt\n",
		"a/in.txt":    "new",
		"a/out.txt":   "old",
		"a/other.txt": "other",
	})
	err := v.generated(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), ":\na/out.txt") {
		t.Fatalf("generated = %v, want a/out.txt alone", err)
	}
	if got, err := os.ReadFile(filepath.Join(v.root, "a", "out.txt")); err != nil || string(got) != "old" {
		t.Fatalf("the tree was changed: %q, %v", got, err)
	}
	put(t, v.root, map[string]string{"a/out.txt": "new"})
	if err := v.generated(t.Context()); err != nil {
		t.Fatalf("generated of a current tree = %v", err)
	}
	if err := os.Remove(filepath.Join(v.root, "a", "out.txt")); err != nil {
		t.Fatal(err)
	}
	if err := v.generated(t.Context()); err == nil {
		t.Fatal("generated missed a file that is not there")
	}
}

func TestToolsAreCalledLikeTheirPackages(t *testing.T) {
	for pkg, want := range map[string]string{
		"example.test/tools/hello": "hello", "example.test/hello/v5": "hello", "example.test/tools/v": "v", "example.test/tools/v5x": "v5x",
	} {
		if got := toolName(pkg); got != want {
			t.Errorf("%s is called %s, want %s", pkg, got, want)
		}
	}
}

func TestToolsAreBuiltOnceAndAgainWhenPinsChange(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	pins := "module example.test/tools\n\ngo 1.26.0\n\ntool example.test/tools/hello\n"
	v, out := module(t, map[string]string{
		"tools/hello/main.go": "package main\n\nfunc main() { print(\"hello\") }\n",
		"tools/go.sum":        "",
	})
	put(t, v.root, map[string]string{"tools/go.mod": pins})

	path := func() string {
		t.Helper()
		p, err := v.toolPath(t.Context(), "hello")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return p
	}
	first := path()
	builds := func() int { return strings.Count(out.String(), "building ") }
	if again := path(); again != first || builds() != 1 {
		t.Fatalf("second call: %s after %s, %d builds", again, first, builds())
	}
	if err := os.RemoveAll(filepath.Dir(first)); err != nil {
		t.Fatal(err)
	}
	if again := path(); again != first || builds() != 2 {
		t.Fatalf("with the cache gone: %s, %d builds", again, builds())
	}
	put(t, v.root, map[string]string{"tools/go.mod": pins + "\n// changed\n"})
	if again := path(); again == first || builds() != 3 {
		t.Fatalf("with other pins: %s as before, %d builds", again, builds())
	}
	if err := v.tool(t.Context(), []string{"hello"}); err != nil || !strings.Contains(out.String(), "hello") {
		t.Fatalf("tool hello = %v\n%s", err, out)
	}
	if err := v.tool(t.Context(), []string{"-path", "hello"}); err != nil || !strings.HasSuffix(out.String(), path()+"\n") {
		t.Fatalf("tool -path hello = %v\n%s", err, out)
	}
	if _, err := v.toolPath(t.Context(), "no-such-tool"); err == nil || !strings.Contains(err.Error(), "there are hello") {
		t.Fatalf("unknown tool: %v", err)
	}
}
