package policy

import (
	"errors"
	"fmt"
	"time"
)

// Options are the rules of one group of origins.
type Options struct {
	// LatencySensitivity is by how much an origin may be slower than the fastest
	// of its priority and still take its share by weight, 0 to 10s. 0 leaves
	// traffic to the fastest alone, and weights without effect. It does not matter
	// to requests that have an affinity. Default 30ms.
	LatencySensitivity time.Duration `yaml:"latency_sensitivity"`
	// Hysteresis keeps small differences in latency from moving traffic.
	Hysteresis Hysteresis `yaml:"hysteresis"`
	// Health says when an origin is left out, and how it comes back.
	Health Health `yaml:"health"`
	// Repeat bounds how many requests are sent twice.
	Repeat Repeat `yaml:"repeat"`
	// Hedge says when a request that waits is sent to a second origin.
	Hedge Hedge `yaml:"hedge"`
	// ProbeInterval is the usual time between two probes, for NextProbe. The door
	// sets it from the settings of its probe. 0 takes 1s.
	ProbeInterval time.Duration `yaml:"-"`
}

// Hysteresis is by how much and for how long latencies must differ before an
// origin joins or leaves those within the sensitivity of the fastest.
type Hysteresis struct {
	// Margin is by how much, 0 to 10s. Default 5ms.
	Margin time.Duration `yaml:"margin"`
	// Time is for how long, 0 to 1h. Default 10s.
	Time time.Duration `yaml:"time"`
}

// Health says when an origin is left out, and how it comes back.
type Health struct {
	// Window is how many of the last probes of an origin are looked at, 1 to 64.
	// Default 4.
	Window int `yaml:"window"`
	// Unhealthy is how many of them must fail before a healthy origin is isolated,
	// 1 to window. Default 2.
	Unhealthy int `yaml:"unhealthy"`
	// Healthy is how many of them must pass before probes count as passing again,
	// 1 to window. Default 2.
	Healthy int `yaml:"healthy"`
	// Silence is how many POSTs of messages or upgrades in a row, each waited for
	// as long as the delay of a hedge, must bring no byte of an answer before their
	// origin is isolated, 0 to 1000. 0 never isolates for it. Default 5.
	Silence int `yaml:"silence"`
	// SilenceTime is for how long there must have been no byte as well, 0 to 1m,
	// counted from the beginning of the first of them. Default 200ms.
	SilenceTime time.Duration `yaml:"silence_time"`
	// Errors says which failing requests isolate an origin.
	Errors Errors `yaml:"errors"`
	// Isolation is how long an origin is left out at least.
	Isolation Isolation `yaml:"isolation"`
	// Restore is how an origin comes back.
	Restore Restore `yaml:"restore"`
	// PanicBelow is the share of enabled origins, 0 to 1, below which being healthy
	// no longer counts, because those that are left could not carry everything.
	// 0 spreads requests over suspects only where no origin is usable. Default 0.
	PanicBelow float64 `yaml:"panic_below"`
}

// Errors says which failing requests isolate an origin. A request fails by an
// answer of 500 and above (not 501 and 505), or by a connection that does not open
// in time or ends early. A connection that is refused isolates at once.
type Errors struct {
	// Consecutive is how many requests in a row must fail, 0 to 10000. 0 does not
	// count them. While an origin is being restored 2 are enough. Default 5.
	Consecutive int `yaml:"consecutive"`
	// Rate is the share of requests within span that must fail, 0 to 1. 0 does not
	// look at it. Default 0.5.
	Rate float64 `yaml:"rate"`
	// Least is how many requests there must be within span for the rate to count,
	// 1 to 1000000. Default 20.
	Least int `yaml:"least"`
	// Span is how far back the rate looks, 100ms to 1h. Default 10s.
	Span time.Duration `yaml:"span"`
}

// Isolation is how long an origin is left out at least. Each isolation of an
// origin that keeps failing lasts longer than the one before.
type Isolation struct {
	// First is how long the first one lasts, 1ms to 1h. Default 2s.
	First time.Duration `yaml:"first"`
	// Max is how long one lasts at most, first to 24h. Default 1m.
	Max time.Duration `yaml:"max"`
	// Growth is how many times longer the next one is, 1 to 10. Default 2.
	Growth float64 `yaml:"growth"`
	// Forget is for how long an origin must have been healthy for its next
	// isolation to be the first again, 0 to 24h. Default 5m.
	Forget time.Duration `yaml:"forget"`
}

// Restore is how an origin comes back after its isolation.
type Restore struct {
	// Passes is how many probes in a row must pass, without a request that failed
	// in between, 1 to 100. Default 2.
	Passes int `yaml:"passes"`
	// Ramp is for how long its share of requests, or of keys where these go by
	// affinity, grows from nothing to the whole, 0 to 1h. Default 10s.
	Ramp time.Duration `yaml:"ramp"`
	// Hold leaves an isolated origin out, also once its probes pass, until an
	// operator releases it. Default false.
	Hold bool `yaml:"hold"`
}

// Repeat bounds how many POSTs are sent a second time, for whichever reason.
type Repeat struct {
	// Share is how many there may be for each POST in the long run, 0 to 1.
	// Default 0.02.
	Share float64 `yaml:"share"`
	// Burst is how many there may be at once when something fails, 0 to 1000000.
	// What is left of the share gathers up to this number. Default 500.
	Burst int `yaml:"burst"`
	// Refill is how long a burst takes to be whole again where there are too few
	// POSTs for their share to do it sooner, 1s to 24h. Default 10m.
	Refill time.Duration `yaml:"refill"`
}

// Hedge says when a request that waits is sent to a second origin: after a
// quantile of what its origin usually takes, times a factor. The same delay is
// the measure of silence, whether hedges are enabled or not.
type Hedge struct {
	// Enabled allows hedges. Default true.
	Enabled bool `yaml:"enabled"`
	// Quantile of the times that the origin's answers took to begin, 0.5 to
	// 0.9999. Default 0.99.
	Quantile float64 `yaml:"quantile"`
	// Factor multiplies it, 1 to 100. Default 2.
	Factor float64 `yaml:"factor"`
	// Least is the shortest delay, 1ms to 1m. Default 20ms.
	Least time.Duration `yaml:"least"`
	// Most is the longest delay, least to 10m. Default 2s.
	Most time.Duration `yaml:"most"`
	// Start is the delay while too few answers were seen, least to most. Default
	// 250ms.
	Start time.Duration `yaml:"start"`
}

// OriginOptions are an origin as its group sees it.
type OriginOptions struct {
	// Name tells the origin from the others of its group.
	Name string `yaml:"name"`
	// Priority orders the origins: of those that are usable, one with the lowest
	// number takes the request. 1 to 5; 0 takes 1.
	Priority int `yaml:"priority"`
	// Weight is the origin's share among those of its priority, 1 to 1000; 0 takes
	// 50.
	Weight int `yaml:"weight"`
	// Enabled lets it take requests.
	Enabled bool `yaml:"enabled"`
}

// Limits of the settings that are no option.
const (
	// MaxOrigins is how many origins a group can have.
	MaxOrigins = 64

	defaultWeight   = 50
	defaultPriority = 1
)

// DefaultOptions return the defaults that the fields name.
func DefaultOptions() Options {
	return Options{
		LatencySensitivity: 30 * time.Millisecond,
		Hysteresis:         Hysteresis{Margin: 5 * time.Millisecond, Time: 10 * time.Second},
		Health: Health{
			Window: 4, Unhealthy: 2, Healthy: 2, Silence: 5, SilenceTime: 200 * time.Millisecond,
			Errors:    Errors{Consecutive: 5, Rate: 0.5, Least: 20, Span: 10 * time.Second},
			Isolation: Isolation{First: 2 * time.Second, Max: time.Minute, Growth: 2, Forget: 5 * time.Minute},
			Restore:   Restore{Passes: 2, Ramp: 10 * time.Second},
		},
		Repeat: Repeat{Share: 0.02, Burst: 500, Refill: 10 * time.Minute},
		Hedge: Hedge{
			Enabled: true, Quantile: 0.99, Factor: 2,
			Least: 20 * time.Millisecond, Most: 2 * time.Second, Start: 250 * time.Millisecond,
		},
		ProbeInterval: time.Second,
	}
}

// Validate returns every problem of the options, joined, each as "path: value:
// rule" with a path below that of the group.
func (o Options) Validate() error {
	return errors.Join(
		within("latency_sensitivity", o.LatencySensitivity, 0, 10*time.Second),
		within("hysteresis.margin", o.Hysteresis.Margin, 0, 10*time.Second),
		within("hysteresis.time", o.Hysteresis.Time, 0, time.Hour),
		o.Health.validate(),
		within("repeat.share", o.Repeat.Share, 0, 1),
		within("repeat.burst", o.Repeat.Burst, 0, 1_000_000),
		within("repeat.refill", o.Repeat.Refill, time.Second, 24*time.Hour),
		within("hedge.quantile", o.Hedge.Quantile, 0.5, 0.9999),
		within("hedge.factor", o.Hedge.Factor, 1, 100),
		within("hedge.least", o.Hedge.Least, time.Millisecond, time.Minute),
		within("hedge.most", o.Hedge.Most, o.Hedge.Least, 10*time.Minute),
		within("hedge.start", o.Hedge.Start, o.Hedge.Least, o.Hedge.Most),
		within("probe.interval", o.ProbeInterval, 0, time.Hour),
	)
}

func (h Health) validate() error {
	return errors.Join(
		within("health.window", h.Window, 1, 64),
		within("health.unhealthy", h.Unhealthy, 1, h.Window),
		within("health.healthy", h.Healthy, 1, h.Window),
		within("health.silence", h.Silence, 0, 1000),
		within("health.silence_time", h.SilenceTime, 0, time.Minute),
		within("health.errors.consecutive", h.Errors.Consecutive, 0, 10_000),
		within("health.errors.rate", h.Errors.Rate, 0, 1),
		within("health.errors.least", h.Errors.Least, 1, 1_000_000),
		within("health.errors.span", h.Errors.Span, 100*time.Millisecond, time.Hour),
		within("health.isolation.first", h.Isolation.First, time.Millisecond, time.Hour),
		within("health.isolation.max", h.Isolation.Max, h.Isolation.First, 24*time.Hour),
		within("health.isolation.growth", h.Isolation.Growth, 1, 10),
		within("health.isolation.forget", h.Isolation.Forget, 0, 24*time.Hour),
		within("health.restore.passes", h.Restore.Passes, 1, 100),
		within("health.restore.ramp", h.Restore.Ramp, 0, time.Hour),
		within("health.panic_below", h.PanicBelow, 0, 1),
	)
}

// ValidateOrigins returns every problem of a group's origins, joined.
func ValidateOrigins(origins []OriginOptions) error {
	var errs []error
	if len(origins) == 0 {
		errs = append(errs, errors.New("origins: none: must name at least one"))
	}
	if len(origins) > MaxOrigins {
		errs = append(errs, fmt.Errorf("origins: %d: must be at most %d", len(origins), MaxOrigins))
	}
	named := make(map[string]bool, len(origins))
	for i, o := range origins {
		path := fmt.Sprintf("origins[%d]", i)
		if !validName(o.Name) {
			errs = append(errs, fmt.Errorf("%s.name: %q: must be 1 to 64 of letters, digits, '.', '_' and '-'", path, o.Name))
		}
		if named[o.Name] {
			errs = append(errs, fmt.Errorf("%s.name: %q: must differ from the other origins' names", path, o.Name))
		}
		named[o.Name] = true
		errs = append(errs,
			within(path+".priority", o.Priority, 0, 5),
			within(path+".weight", o.Weight, 0, 1000))
	}
	return errors.Join(errs...)
}

func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// within reports a value outside its bounds; what is no number is outside.
func within[T int | float64 | time.Duration](path string, v, least, most T) error {
	if v >= least && v <= most {
		return nil
	}
	return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
}

func (o OriginOptions) withDefaults() OriginOptions {
	if o.Priority == 0 {
		o.Priority = defaultPriority
	}
	if o.Weight == 0 {
		o.Weight = defaultWeight
	}
	return o
}
