package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"
)

// LogOptions are the settings of the log, which goes to standard error.
type LogOptions struct {
	// Level is the least level that is logged: debug (every message), info
	// (changes of state), warn (degraded but working) or error (a person
	// should look).
	Level string `yaml:"level"`
	// Format is text, json, or auto: text on a terminal and json elsewhere.
	Format string `yaml:"format"`
}

// DefaultLogOptions log from info, in the format that suits the output.
func DefaultLogOptions() LogOptions {
	return LogOptions{Level: "info", Format: "auto"}
}

// Validate returns every problem of the options, joined.
func (o LogOptions) Validate() error {
	var errs []error
	if _, err := o.level(); err != nil {
		errs = append(errs, err)
	}
	switch o.Format {
	case "text", "json", "auto":
	default:
		errs = append(errs, fmt.Errorf("format: %q: must be one of text, json, auto", o.Format))
	}
	return errors.Join(errs...)
}

func (o LogOptions) level() (slog.Level, error) {
	switch o.Level {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("level: %q: must be one of debug, info, warn, error", o.Level)
}

// NewLogger returns a logger that writes to w.
func NewLogger(w io.Writer, opts LogOptions) (*slog.Logger, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	level, err := opts.level()
	if err != nil {
		return nil, err
	}
	text := opts.Format == "text" || opts.Format == "auto" && IsTerminal(w)
	if text {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shorten})), nil
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: lower})), nil
}

// shorten writes for a person: the time of day with milliseconds only.
func shorten(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return lower(groups, a)
}

// lower writes levels as the option names them, and durations as text, which
// slog's JSON would give in bare nanoseconds.
func lower(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
	}
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// IsTerminal reports whether w writes to a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
