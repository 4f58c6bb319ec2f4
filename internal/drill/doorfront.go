package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postroad/internal/loopback"
)

// Front is a proxy before some origins: a process of its own, Postroad's door or
// a program of others as Debian packages it, with settings that a careful
// operator would choose and that are alike where they can be: a probe a second,
// two that fail or pass in a row, half a second to connect, one second for the
// others to answer, one core.
type Front struct {
	// Timeout is how long programs of others let an origin be silent; a second,
	// where nobody sets it before Start.
	Timeout time.Duration

	kind    *frontKind
	name    string
	dir     string
	binary  *Binary
	address string
	origins []FrontOrigin
	// settings are further lines of the configuration of Postroad's door.
	settings []string
	// changes counts how often the configuration was written.
	changes int
	// admin is where a program takes orders, where it does so over a socket.
	admin string
	p     *Process
}

// FrontOrigin is an origin behind a Front.
type FrontOrigin struct {
	Name string
	// Address is host:port.
	Address string
	// Stream is host:port of the stamp's stream node, for Postroad's door alone;
	// empty where it has none.
	Stream string
	// Priority orders the origins of Postroad's door; 0 is 1.
	Priority int
}

// frontKind is a program and a way to set it up.
type frontKind struct {
	// command is looked for in PATH; "" is the binary under test.
	command string
	// version makes the command say which it is, in its first line.
	version string
	config  func(f *Front) string
	// args are those after the command, for a configuration file.
	args func(f *Front, file string) []string
	// reload makes a running process take up its configuration anew.
	reload func(f *Front, ctx context.Context) error
}

// doorFront is the name of Postroad's own.
const doorFront = "postroad"

// Fronts are the names of all kinds of proxies, Postroad's door first. Those that
// end in -retry repeat POSTs that got no answer, which the others, as they come,
// do not.
func Fronts() []string {
	return []string{doorFront, "haproxy", "haproxy-retry", "nginx", "nginx-retry", "caddy", "caddy-retry"}
}

// ReverseProxy is the name of one more kind, which has no idea of health: the
// plainest proxy that Go's library makes, for those who measure.
const ReverseProxy = "reverse-proxy"

func kindOfFront(name string) (*frontKind, error) {
	program, retry := strings.CutSuffix(name, "-retry")
	switch {
	case name == ReverseProxy:
		return &frontKind{
			config: func(*Front) string { return "" },
			args: func(f *Front, _ string) []string {
				args := []string{"bench", "reverse-proxy", "--listen", f.address}
				for _, o := range f.origins {
					args = append(args, "--origin", "http://"+o.Address)
				}
				return args
			},
			reload: func(*Front, context.Context) error { return errors.ErrUnsupported },
		}, nil
	case name == doorFront:
		return &frontKind{
			config: doorConfig,
			args:   func(_ *Front, file string) []string { return []string{"door", "--config", file} },
			reload: (*Front).readAgain,
		}, nil
	case program == "haproxy":
		return &frontKind{
			command: "haproxy", version: "-v",
			config: func(f *Front) string { return haproxyConfig(f, retry) },
			args:   func(_ *Front, file string) []string { return []string{"-W", "-db", "-f", file} },
			reload: func(f *Front, _ context.Context) error { return f.p.signal(syscall.SIGUSR2) },
		}, nil
	case program == "nginx":
		return &frontKind{
			command: "nginx", version: "-v",
			config: func(f *Front) string { return nginxConfig(f, retry) },
			args:   func(f *Front, file string) []string { return []string{"-p", f.dir, "-e", "stderr", "-c", file} },
			reload: func(f *Front, _ context.Context) error { return f.p.signal(syscall.SIGHUP) },
		}, nil
	case program == "caddy":
		return &frontKind{
			command: "caddy", version: "version",
			config: func(f *Front) string { return caddyConfig(f, retry) },
			args: func(_ *Front, file string) []string {
				return []string{"run", "--adapter", "caddyfile", "--config", file}
			},
			reload: func(f *Front, ctx context.Context) error {
				out, err := exec.CommandContext(ctx, f.kind.command, "reload", "--force", "--address", f.admin, "--adapter", "caddyfile", "--config", f.file()).CombinedOutput()
				if err != nil {
					return fmt.Errorf("caddy reload: %w: %.500s", err, out)
				}
				return nil
			},
		}, nil
	}
	return nil, fmt.Errorf("front %q: want one of %s", name, strings.Join(Fronts(), ", "))
}

// ErrNotInstalled is a program that this machine does not have.
var ErrNotInstalled = errors.New("not installed")

// NewFront makes a proxy of a kind before origins; it is not started yet.
// settings are further lines of the section "door" of Postroad's door.
func NewFront(ctx context.Context, b *Binary, kind string, origins []FrontOrigin, settings ...string) (*Front, error) {
	k, err := kindOfFront(kind)
	if err != nil {
		return nil, err
	}
	if k.command != "" {
		if k.command, err = lookFor(k.command); err != nil {
			return nil, err
		}
	}
	f := &Front{Timeout: time.Second, kind: k, name: kind, binary: b, origins: origins, settings: settings, dir: filepath.Join(b.Dir, "front-"+kind)}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, fmt.Errorf("front: %w", err)
	}
	if f.address, err = loopback.Address(ctx); err != nil {
		return nil, err
	}
	for f.admin == "" || f.admin == f.address {
		if f.admin, err = loopback.Address(ctx); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// lookFor finds a program, also where only an administrator's PATH leads.
func lookFor(command string) (string, error) {
	for _, path := range []string{command, "/usr/sbin/" + command, "/usr/local/sbin/" + command} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %w", command, ErrNotInstalled)
}

// URL is the base URL that clients use, the same over restarts.
func (f *Front) URL() string { return "http://" + f.address }

// Version is what a program of others says of itself; empty for this binary.
func (f *Front) Version(ctx context.Context) (string, error) {
	if f.kind.version == "" {
		return "", nil
	}
	out, err := exec.CommandContext(ctx, f.kind.command, f.kind.version).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("version of %s: %w: %.200s", f.name, err, out)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if program, _, _ := strings.Cut(f.name, "-"); !strings.Contains(strings.ToLower(first), program) {
		first = program + " " + first // not all name themselves
	}
	return first, nil
}

// Process is the one that runs; nil where none does.
func (f *Front) Process() *Process { return f.p }

func (f *Front) file() string { return filepath.Join(f.dir, f.name+".conf") }

// write writes the configuration, each time with another weight of the origins,
// so that a reload has something to do.
func (f *Front) write() error {
	f.changes++
	if err := os.WriteFile(f.file()+".new", []byte(f.kind.config(f)), 0o600); err != nil {
		return fmt.Errorf("configuration of %s: %w", f.name, err)
	}
	if err := os.Rename(f.file()+".new", f.file()); err != nil {
		return fmt.Errorf("configuration of %s: %w", f.name, err)
	}
	return nil
}

// weight alternates between two that share alike.
func (f *Front) weight() int { return 50 + f.changes%2 }

// Start starts the process and returns once it takes connections.
func (f *Front) Start(ctx context.Context) (err error) {
	if err := f.write(); err != nil {
		return err
	}
	args := f.kind.args(f, f.file())
	if f.kind.command == "" {
		f.p, err = f.binary.Start(ctx, args...)
		return err
	}
	if f.p, err = startOther(filepath.Join(f.dir, fmt.Sprintf("%03d.log", f.changes)), f.dir, f.kind.command, args...); err != nil {
		return err
	}
	if err := f.accepts(ctx); err != nil {
		log := f.p.LogTail()
		return errors.Join(fmt.Errorf("start %s: %w; its log ends:\n%s", f.name, err, log), f.p.Kill())
	}
	return nil
}

// accepts waits until somebody listens at the address.
func (f *Front) accepts(ctx context.Context) error {
	var d net.Dialer
	return Until(ctx, startTimeout, "it takes connections", func() (bool, error) {
		select {
		case <-f.p.ended:
			return false, errors.Join(ErrEnded, f.p.err)
		default:
		}
		conn, err := d.DialContext(ctx, "tcp", f.address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, conn.Close()
	})
}

// startOther starts a program of others, whose files go below dir.
func startOther(log, dir, command string, args ...string) (*Process, error) {
	p := &Process{log: log, ended: make(chan struct{})}
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	defer out.Close()                      //nolint:errcheck // the process has its own descriptor
	p.cmd = exec.Command(command, args...) //nolint:noctx // Stop ends it
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p.Started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Stop asks the process to end, as an operator does who restarts it, and waits
// until it is gone.
func (f *Front) Stop() error {
	p := f.p
	f.p = nil
	if p == nil {
		return nil
	}
	if f.kind.command == "" {
		return p.Stop()
	}
	return p.end(syscall.SIGTERM) // programs of others tell of a signal by their exit codes
}

// Order gives Postroad's door an order by its own command line, such as "drain",
// "first", and returns what it says.
func (f *Front) Order(ctx context.Context, order ...string) ([]byte, error) {
	if f.p == nil || f.p.Addresses.Admin == "" {
		return nil, fmt.Errorf("%s takes no orders", f.name)
	}
	args := append([]string{"door", "ctl"}, order...)
	cmd := exec.CommandContext(ctx, f.binary.Path, append(args, "--admin", f.p.Addresses.Admin)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %.500s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("%v: %w", args, err)
	}
	return out, nil
}

// doorChange is a change of an origin's state.
type doorChange struct {
	At     time.Time `json:"at"`
	Origin string    `json:"origin"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
}

// changesOf asks Postroad's door for the changes of an origin's state since it
// started, the oldest first.
func (f *Front) changesOf(ctx context.Context, origin string) ([]doorChange, error) {
	text, err := f.Order(ctx, "events", "--json", "--limit", "1000")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Events []doorChange `json:"events"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("events of the door: %w: %.200q", err, text)
	}
	var all []doorChange
	for _, e := range slices.Backward(answer.Events) {
		if e.Origin == origin && e.To != "" {
			all = append(all, e)
		}
	}
	return all, nil
}

// Reload changes the configuration and makes the process take it up.
func (f *Front) Reload(ctx context.Context) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.kind.reload(f, ctx)
}

// readAgain has Postroad's door read its settings, and waits until it uses them:
// orders that come too fast are one, and a door that refused them all would pass
// for one that no reload disturbs.
func (f *Front) readAgain(ctx context.Context) error {
	before, _, err := f.reads(ctx)
	if err != nil {
		return err
	}
	if err := f.p.signal(syscall.SIGHUP); err != nil {
		return err
	}
	return Until(ctx, startTimeout, "the settings are in use", func() (bool, error) {
		used, refused, err := f.reads(ctx)
		if err == nil && refused > 0 {
			err = errors.New("the settings are refused")
		}
		return used > before, err
	})
}

// reads are how often Postroad's door has taken settings into use, and refused
// them.
func (f *Front) reads(ctx context.Context) (used, refused int, err error) {
	text, err := f.p.get(ctx, "/metrics")
	if err != nil {
		return 0, 0, err
	}
	for result, n := range map[string]*int{"used": &used, "refused": &refused} {
		_, after, ok := strings.Cut(string(text), fmt.Sprintf("postroad_door_settings_reads_total{result=%q} ", result))
		if !ok {
			return 0, 0, errors.New("the door does not say how often it read its settings")
		}
		line, _, _ := strings.Cut(after, "\n")
		if *n, err = strconv.Atoi(line); err != nil {
			return 0, 0, fmt.Errorf("how often the door read its settings: %w", err)
		}
	}
	return used, refused, nil
}
