package main

import (
	"encoding/json"
	"fmt"

	"postroad/internal/telemetry"
)

type versionCommand struct {
	JSON bool `help:"Print as JSON."`
}

// Run prints the version of this binary.
func (c *versionCommand) Run(std streams) error {
	v := telemetry.CurrentVersion(version)
	if !c.JSON {
		fmt.Fprintln(std.out, v)
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	fmt.Fprintln(std.out, string(b))
	return nil
}
