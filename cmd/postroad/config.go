package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"postroad/internal/config"
)

type configCommand struct {
	Check     configCheck     `cmd:"" help:"Report every problem of a configuration."`
	Print     configPrint     `cmd:"" help:"Print every setting and where it came from."`
	Reference configReference `cmd:"" help:"Print what every setting means."`
}

// settingsFlags are the flags of every command that takes a configuration.
type settingsFlags struct {
	Config string   `help:"YAML file with the settings." placeholder:"FILE"`
	Set    []string `help:"A setting of the command line, such as --set log.level=debug; may be repeated." placeholder:"PATH=VALUE" sep:"none"`
}

// loadStamp reads the settings of a stamp. extra are settings that other flags
// of the command stand for; --set goes before them.
func (f settingsFlags) loadStamp(extra ...string) (config.Stamp, *config.Loaded, error) {
	settings := config.DefaultStamp()
	loaded, err := config.Load(&settings, config.LoadOptions{
		File:      f.Config,
		Env:       os.Environ(),
		IgnoreEnv: notSettings(),
		Set:       append(extra, f.Set...),
	})
	if err != nil {
		return config.Stamp{}, nil, &usageError{err}
	}
	return settings, loaded, nil
}

type configCheck struct {
	settingsFlags
}

// Help says what is checked.
func (c *configCheck) Help() string {
	return "Checks the settings of `postroad stamp`, `gateway` and `forward` from the file, the POSTROAD_* variables and --set, as these commands would read them." +
		" Exit code 0 if they are good, 2 if not."
}

// Run checks a configuration.
func (c *configCheck) Run(std streams) error {
	if _, _, err := c.loadStamp(); err != nil {
		return err
	}
	sources := []string{"defaults"}
	if c.Config != "" {
		sources = append(sources, c.Config)
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, config.EnvPrefix) && !slices.Contains(notSettings(), name) {
			sources = append(sources, "POSTROAD_* variables")
			break
		}
	}
	if len(c.Set) > 0 {
		sources = append(sources, config.SetOrigin)
	}
	fmt.Fprintln(std.out, "configuration is good:", strings.Join(sources, ", "))
	return nil
}

type configPrint struct {
	settingsFlags
}

// Run prints a configuration.
func (c *configPrint) Run(std streams) error {
	_, loaded, err := c.loadStamp()
	if err != nil {
		return err
	}
	return loaded.Print(std.out)
}

type configReference struct{}

// Run prints the reference.
func (c *configReference) Run(std streams) error {
	return config.Reference(std.out, config.Roots()...)
}
