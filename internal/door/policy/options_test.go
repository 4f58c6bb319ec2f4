package policy

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValidAndQuiet(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	if w := Warnings(DefaultOptions(), two()); len(w) != 0 {
		t.Errorf("warnings about the defaults: %q", w)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"latency_sensitivity: -1ns: must":              func(o *Options) { o.LatencySensitivity = -1 },
		"hysteresis.margin: 11s: must":                 func(o *Options) { o.Hysteresis.Margin = 11 * time.Second },
		"hysteresis.time: 2h0m0s: must":                func(o *Options) { o.Hysteresis.Time = 2 * time.Hour },
		"health.window: 65: must":                      func(o *Options) { o.Health.Window = 65 },
		"health.unhealthy: 5: must be between 1 and 4": func(o *Options) { o.Health.Unhealthy = 5 },
		"health.healthy: 0: must":                      func(o *Options) { o.Health.Healthy = 0 },
		"health.silence: -1: must":                     func(o *Options) { o.Health.Silence = -1 },
		"health.silence_time: 2m0s: must":              func(o *Options) { o.Health.SilenceTime = 2 * time.Minute },
		"health.errors.consecutive: -1: must":          func(o *Options) { o.Health.Errors.Consecutive = -1 },
		"health.errors.rate: 1.5: must":                func(o *Options) { o.Health.Errors.Rate = 1.5 },
		"health.errors.rate: NaN: must":                func(o *Options) { o.Health.Errors.Rate = math.NaN() },
		"health.errors.least: 0: must":                 func(o *Options) { o.Health.Errors.Least = 0 },
		"health.errors.span: 1ms: must":                func(o *Options) { o.Health.Errors.Span = time.Millisecond },
		"health.isolation.first: 0s: must":             func(o *Options) { o.Health.Isolation.First = 0 },
		"health.isolation.max: 1s: must":               func(o *Options) { o.Health.Isolation.Max = time.Second },
		"health.isolation.growth: 0.5: must":           func(o *Options) { o.Health.Isolation.Growth = 0.5 },
		"health.isolation.forget: -1s: must":           func(o *Options) { o.Health.Isolation.Forget = -time.Second },
		"health.restore.passes: 0: must":               func(o *Options) { o.Health.Restore.Passes = 0 },
		"health.restore.ramp: -1s: must":               func(o *Options) { o.Health.Restore.Ramp = -time.Second },
		"health.panic_below: 2: must":                  func(o *Options) { o.Health.PanicBelow = 2 },
		"repeat.share: -0.1: must":                     func(o *Options) { o.Repeat.Share = -0.1 },
		"repeat.burst: -1: must":                       func(o *Options) { o.Repeat.Burst = -1 },
		"repeat.refill: 1ms: must":                     func(o *Options) { o.Repeat.Refill = time.Millisecond },
		"hedge.quantile: 1: must":                      func(o *Options) { o.Hedge.Quantile = 1 },
		"hedge.factor: +Inf: must":                     func(o *Options) { o.Hedge.Factor = math.Inf(1) },
		"hedge.least: 0s: must":                        func(o *Options) { o.Hedge.Least = 0 },
		"hedge.most: 10ms: must":                       func(o *Options) { o.Hedge.Most = 10 * time.Millisecond },
		"hedge.start: 3s: must":                        func(o *Options) { o.Hedge.Start = 3 * time.Second },
		"probe.interval: 2h0m0s: must":                 func(o *Options) { o.ProbeInterval = 2 * time.Hour },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := New(o, two(), Deps{}); err == nil {
			t.Errorf("%q: a group is made of it", want)
		}
	}
	o := DefaultOptions()
	o.Health.Window, o.Hedge.Factor = 0, 0
	if err := o.Validate(); err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not every problem is told: %v", err)
	}
}

func TestValidateOrigins(t *testing.T) {
	many := make([]OriginOptions, MaxOrigins+1)
	for i := range many {
		many[i] = on("o"+string(rune('0'+i/10))+string(rune('0'+i%10)), 1, 1)
	}
	for want, origins := range map[string][]OriginOptions{
		"origins: none: must":                          nil,
		"origins: 65: must be at most 64":              many,
		"origins[0].name: \"\": must be":               {on("", 1, 50)},
		"origins[0].name: \"a b\": must be":            {on("a b", 1, 50)},
		"origins[1].name: \"a\": must differ":          {on("a", 1, 50), on("a", 2, 50)},
		"origins[1].priority: 6: must be":              {on("a", 1, 50), on("b", 6, 50)},
		"origins[0].weight: 1001: must be":             {on("a", 1, 1001)},
		"origins[0].weight: -1: must be between 0 and": {on("a", 1, -1)},
	} {
		if err := ValidateOrigins(origins); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := ValidateOrigins(many[:MaxOrigins]); err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	off := func(name string) OriginOptions { return OriginOptions{Name: name} }
	for _, tc := range []struct {
		want    string // "" for none
		origins []OriginOptions
		change  func(*Options)
	}{
		{"none is enabled", []OriginOptions{off("a"), off("b")}, nil},
		{"only one is enabled", []OriginOptions{on("a", 1, 0), off("b")}, nil},
		{"origin a: weight: has no effect", []OriginOptions{on("a", 1, 70), on("b", 2, 50)}, nil},
		{"", []OriginOptions{on("a", 1, 0), on("b", 2, 50)}, nil},
		{"weights of priority 1 have no effect", []OriginOptions{on("a", 1, 70), on("b", 1, 30)}, func(o *Options) { o.LatencySensitivity = 0 }},
		{"", two(), func(o *Options) { o.LatencySensitivity = 0 }},
		{"latency_sensitivity: has no effect", []OriginOptions{on("a", 1, 50), on("b", 2, 50)}, func(o *Options) { o.LatencySensitivity = time.Second }},
		{"health.panic_below: has no effect", []OriginOptions{on("a", 1, 50)}, func(o *Options) { o.Health.PanicBelow = 0.5 }},
		{"health.silence_time: has no effect", two(), func(o *Options) { o.Health.Silence, o.Health.SilenceTime = 0, time.Second }},
		{"health.errors.least, health.errors.span", two(), func(o *Options) { o.Health.Errors.Rate, o.Health.Errors.Least = 0, 7 }},
		{"health.isolation.max: has no effect", two(), func(o *Options) { o.Health.Isolation.Growth, o.Health.Isolation.Max = 1, time.Hour }},
		{"health.isolation.growth: has no effect", two(), func(o *Options) { o.Health.Isolation.First = o.Health.Isolation.Max }},
		{"hedge.quantile, hedge.factor", two(), func(o *Options) {
			o.Hedge.Least, o.Hedge.Most, o.Hedge.Start, o.Hedge.Factor = time.Second, time.Second, time.Second, 3
		}},
		{"repeat.share, repeat.burst: are 0", two(), func(o *Options) { o.Repeat.Share, o.Repeat.Burst = 0, 0 }},
		{"repeat.refill: has no effect", two(), func(o *Options) { o.Repeat.Burst, o.Repeat.Refill = 0, time.Hour }},
		{"hedge: has no effect", two(), func(o *Options) { o.Hedge.Enabled, o.Health.Silence, o.Hedge.Factor = false, 0, 3 }},
	} {
		o := DefaultOptions()
		if tc.change != nil {
			tc.change(&o)
		}
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(Warnings(o, tc.origins), "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
