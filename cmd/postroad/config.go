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

// loadStream reads the settings of a stream node.
func (f settingsFlags) loadStream() (config.Stream, *config.Loaded, error) {
	settings := config.DefaultStream()
	loaded, err := config.Load(&settings, config.LoadOptions{File: f.Config, Env: os.Environ(), IgnoreEnv: notSettings(), Set: f.Set})
	if err != nil {
		return config.Stream{}, nil, &usageError{err}
	}
	return settings, loaded, nil
}

// whoseFlags say of which command a configuration is.
type whoseFlags struct {
	settingsFlags
	For string `help:"Command that the settings are of: stamp (gateway and forward, too), stream or door. By default it is stream or door where the file has a section of that name." enum:",stamp,stream,door" default:"" placeholder:"COMMAND"`
}

// load reads the settings of whichever command they are of, and what is to be
// warned of.
func (f whoseFlags) load() (*config.Loaded, []string, error) {
	of, err := f.whose()
	if err != nil {
		return nil, nil, err
	}
	switch of {
	case "stream":
		settings, loaded, err := f.loadStream()
		if err != nil {
			return nil, nil, err
		}
		return loaded, settings.Warnings(), nil
	case "door":
		settings, loaded, err := f.loadDoor()
		if err != nil {
			return nil, nil, err
		}
		return loaded, settings.Warnings(), nil
	}
	_, loaded, err := f.loadStamp()
	return loaded, nil, err
}

// whose is the command that the settings are of; empty for a stamp's.
func (f whoseFlags) whose() (string, error) {
	if f.For != "" {
		return f.For, nil
	}
	for _, section := range []string{"stream", "door"} {
		is, err := config.HasSection(f.Config, section)
		if err != nil {
			return "", &usageError{err}
		}
		if is {
			return section, nil
		}
	}
	return "", nil
}

type configCheck struct {
	whoseFlags
}

// Help says what is checked.
func (c *configCheck) Help() string {
	return "Checks the settings of `postroad stamp`, `gateway` and `forward`, of `postroad stream` or of `postroad door`, from the file, the POSTROAD_* variables and --set, as these commands would read them." +
		" A file that has a section stream is a stream node's, one with a section door a front door's. What is allowed but hardly meant is warned of." +
		" Exit code 0 if they are good, 2 if not."
}

// Run checks a configuration.
func (c *configCheck) Run(std streams) error {
	_, warnings, err := c.load()
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(std.err, "warning:", w)
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
	whoseFlags
}

// Run prints a configuration.
func (c *configPrint) Run(std streams) error {
	loaded, _, err := c.load()
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
