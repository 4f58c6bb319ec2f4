package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"postroad/internal/config"
)

// settingsEvery is how often the file of settings is looked at. Contents are
// compared: a mounted file is changed by a symbolic link far above it.
const settingsEvery = time.Second

// follow reads the settings again whenever their file changes, and whenever it is
// asked to, until ctx ends.
func (f *front) follow(ctx context.Context, src DoorSource) error {
	tick := time.NewTicker(settingsEvery)
	defer tick.Stop()
	seen := fileSum(src.File)
	for {
		var why string
		select {
		case <-ctx.Done():
			return nil
		case <-src.Ask:
			why = "asked"
		case <-tick.C:
			if is := fileSum(src.File); is == seen {
				continue
			}
			why = "file changed"
		}
		seen = fileSum(src.File)
		f.reload(ctx, src.Load, why)
	}
}

// fileSum stands for what a file holds; one that cannot be read differs from all
// that can.
func fileSum(path string) [sha256.Size]byte {
	if path == "" {
		return [sha256.Size]byte{}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return sha256.Sum256([]byte("unreadable"))
	}
	return sha256.Sum256(append([]byte("content "), b...))
}

// reload takes new settings into use, or none of them and says all that is wrong
// with them.
func (f *front) reload(ctx context.Context, load func() (config.Door, error), why string) {
	settings, err := load()
	if err == nil {
		err = f.take(settings)
	}
	if err != nil {
		f.reloads.WithLabelValues("refused").Inc()
		f.refused(ctx, err, why)
		return
	}
	f.reloads.WithLabelValues("used").Inc()
	f.warn(settings)
	if names := f.needsStart(settings); len(names) > 0 {
		f.log.WarnContext(ctx, "settings take effect at the next start", "settings", names)
	}
	f.log.InfoContext(ctx, "settings are in use", "why", why)
	f.settings.Door = settings.Door
	f.settings.HTTP.TLS, f.settings.HTTP.Clients = settings.HTTP.TLS, settings.HTTP.Clients
}

// refused logs every problem of settings that are not taken.
func (f *front) refused(ctx context.Context, err error, why string) {
	var bad *config.Error
	if !errors.As(err, &bad) {
		f.log.ErrorContext(ctx, "new settings are refused, the old ones stay", "why", why, "err", err)
		return
	}
	f.log.ErrorContext(ctx, "new settings are refused, the old ones stay", "why", why, "problems", len(bad.Problems))
	for _, p := range bad.Problems {
		f.log.ErrorContext(ctx, "problem of the settings", "problem", p.String())
	}
}

// take puts settings to use, or none of them: where those of the door cannot be
// used, such as for a file that is not there, those of the listener go back.
func (f *front) take(settings config.Door) error {
	if err := f.edge.Reload(settings.HTTP); err != nil {
		return fmt.Errorf("http: %w", err)
	}
	if err := f.door.Reload(settings.Door); err != nil {
		return errors.Join(fmt.Errorf("door: %w", err), f.edge.Reload(f.settings.HTTP))
	}
	return nil
}

// needsStart names the settings that differ from those in use, and that only a new
// start changes.
func (f *front) needsStart(settings config.Door) []string {
	var names []string
	was, is := f.settings.HTTP, settings.HTTP
	if was.DrainDelay != is.DrainDelay {
		names = append(names, "http.drain_delay")
	}
	is.DrainDelay = 0 // the listener's own has none, see newFront
	for _, n := range f.edge.NeedsStart(is) {
		names = append(names, "http."+n)
	}
	if settings.Admin != f.settings.Admin {
		names = append(names, "admin")
	}
	if settings.Log != f.settings.Log {
		names = append(names, "log")
	}
	return slices.Clip(names)
}
