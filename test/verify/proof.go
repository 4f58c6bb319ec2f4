package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// stageLimit ends a stage of proof. Each stage is its own run, so that what
// takes long in sum can be done a piece at a time, by -run.
const stageLimit = time.Hour

// proof is `make proof`: one stage for each fuzz target and for each test
// whose name begins with TestProof.
func (v *verifier) proof(ctx context.Context, args []string) error {
	fs := v.flags("proof")
	list := fs.Bool("list", false, "print the stages and run none")
	pattern := fs.String("run", "", "run only stages whose name matches this `regexp`")
	fuzzTime := fs.Duration("fuzztime", 10*time.Minute, "how `long` each fuzz target runs, at most 50m")
	if err := v.parse(fs, args); err != nil {
		return err
	}
	re, err := regexp.Compile(*pattern)
	if err != nil || *fuzzTime <= 0 || *fuzzTime > 50*time.Minute {
		fmt.Fprintf(v.stderr, "verify: proof: -run must be a regexp, -fuzztime within (0, 50m]\n")
		return errUsage
	}
	stages, err := v.proofStages(ctx, *fuzzTime)
	if err != nil {
		return err
	}
	stages = slices.DeleteFunc(stages, func(s stage) bool { return !re.MatchString(s.name) })
	if len(stages) == 0 {
		return errors.New("no stage matches")
	}
	if *list {
		for _, s := range stages {
			fmt.Fprintln(v.stdout, s.name)
		}
		return nil
	}
	return v.runStages(ctx, stages)
}

func (v *verifier) proofStages(ctx context.Context, fuzzTime time.Duration) ([]stage, error) {
	proofs, err := v.find(ctx, "TestProof")
	if err != nil {
		return nil, err
	}
	fuzzers, err := v.find(ctx, "Fuzz")
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, t := range proofs {
		stages = append(stages, stage{"proof " + t.pkg + " " + t.name, stageLimit, func(ctx context.Context) error {
			_, err := v.goTest(ctx, false, "-tags", proofTag, "-count=1", "-timeout", "55m", "-run", "^"+t.name+"$", t.pkg)
			return err
		}})
	}
	for _, t := range fuzzers {
		stages = append(stages, stage{"fuzz " + t.pkg + " " + t.name, stageLimit, func(ctx context.Context) error {
			return v.command(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$",
				"-fuzztime", fuzzTime.String(), t.pkg).Run()
		}})
	}
	return stages, nil
}

// bench is the Go half of `make bench`: the benchmarks of every package that
// has some, one package at a time so that they do not disturb each other.
func (v *verifier) bench(ctx context.Context, args []string) error {
	fs := v.flags("bench")
	pattern := fs.String("run", ".", "run only benchmarks whose name matches this `regexp`")
	if err := v.parse(fs, args); err != nil {
		return err
	}
	found, err := v.find(ctx, "Benchmark")
	if err != nil {
		return err
	}
	var packages []string
	for _, t := range found {
		packages = append(packages, t.pkg)
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if len(packages) == 0 {
		fmt.Fprintln(v.stdout, "no package has a Go benchmark")
		return nil
	}
	flags := []string{"test", "-p", "1", "-run", "^$", "-benchmem", "-bench", *pattern}
	return v.command(ctx, "go", append(flags, packages...)...).Run()
}
