package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A stage is one step of a command, reported on its own.
type stage struct {
	name string
	// limit ends the stage; 0 is none.
	limit time.Duration
	run   func(context.Context) error
}

// result is how a stage went.
type result struct {
	name string
	took time.Duration
	err  error
}

// runStages runs all stages in order, also after one failed, and prints the
// table. It stops early only where ctx ends.
func (v *verifier) runStages(ctx context.Context, stages []stage) error {
	var results []result
	for _, s := range stages {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(v.stdout, "==> %s\n", s.name)
		results = append(results, v.runStage(ctx, s))
	}
	failed := v.printTable(results)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped after %d of %d stages: %w", len(results), len(stages), err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d stages failed", failed, len(stages))
	}
	return nil
}

func (v *verifier) runStage(ctx context.Context, s stage) result {
	if s.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("took longer than %v", s.limit))
		defer cancel()
	}
	start := time.Now()
	err := s.run(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		fmt.Fprintf(v.stdout, "FAILED: %s: %v\n", s.name, err)
	}
	return result{name: s.name, took: time.Since(start), err: err}
}

// printTable returns how many stages failed.
func (v *verifier) printTable(results []result) int {
	width := len("stage")
	for _, r := range results {
		width = max(width, len(r.name))
	}
	failed := 0
	fmt.Fprintf(v.stdout, "\n%-*s  seconds  result\n", width, "stage")
	for _, r := range results {
		verdict := "ok"
		if r.err != nil {
			verdict = "FAILED"
			failed++
		}
		fmt.Fprintf(v.stdout, "%-*s  %7.1f  %s\n", width, r.name, r.took.Seconds(), verdict)
	}
	for _, n := range v.notes {
		fmt.Fprintln(v.stdout, "NOTE:", n)
	}
	return failed
}
