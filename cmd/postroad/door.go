package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"postroad/internal/app"
	"postroad/internal/config"
)

type doorCommand struct {
	Run doorRun `cmd:"" default:"withargs" help:"Run a front door (what postroad door does without another word)."`
	Ctl doorCtl `cmd:"" help:"See what a front door does, and give it orders."`
}

type doorRun struct {
	settingsFlags
	processFlags
}

// Help says what runs.
func (c *doorCommand) Help() string { return c.Run.Help() }

// Help says what runs.
func (c *doorRun) Help() string {
	return "Runs a front door: one address before several stamps, which sends each request to a healthy one and repeats it elsewhere only where that is safe." +
		" The file is read again on SIGHUP and when it changes; settings with a mistake in them are refused, and the old ones stay." +
		" `postroad config reference` lists the settings; `postroad config check` knows the file by its section door."
}

// loadDoor reads the settings of a front door.
func (f settingsFlags) loadDoor() (config.Door, *config.Loaded, error) {
	settings := config.DefaultDoor()
	loaded, err := config.Load(&settings, config.LoadOptions{File: f.Config, Env: os.Environ(), IgnoreEnv: notSettings(), Set: f.Set})
	if err != nil {
		return config.Door{}, nil, &usageError{err}
	}
	return settings, loaded, nil
}

// Run runs a front door until ctx ends.
func (c *doorRun) Run(ctx context.Context, out streams) error {
	asked, stop := hangups(ctx) // first of all: without it the signal kills
	defer stop()
	settings, _, err := c.loadDoor()
	if err != nil {
		return err
	}
	deps, err := c.deps(out, settings.Log)
	if err != nil {
		return err
	}
	return app.RunDoor(ctx, settings, app.DoorSource{
		File: c.Config, Ask: asked,
		Load: func() (config.Door, error) {
			settings, _, err := c.loadDoor()
			return settings, err
		},
	}, deps)
}

// hangups brings a word for each SIGHUP until stop is called; several at once are
// one.
func hangups(ctx context.Context) (asked <-chan struct{}, stop func()) {
	signals, words := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case words <- struct{}{}:
				default:
				}
			}
		}
	}()
	return words, func() { signal.Stop(signals); cancel(); <-done }
}
