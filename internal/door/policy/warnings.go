package policy

import "fmt"

// Warnings name settings that are allowed and can have no effect, a line each. The
// options must be valid.
func Warnings(o Options, origins []OriginOptions) []string {
	w := originWarnings(o, origins)
	add := func(when bool, text string) {
		if when {
			w = append(w, text)
		}
	}
	h, d := o.Health, DefaultOptions()
	add(h.Silence == 0 && h.SilenceTime != d.Health.SilenceTime,
		"health.silence_time: has no effect: health.silence is 0")
	add(h.Errors.Rate == 0 && (h.Errors.Least != d.Health.Errors.Least || h.Errors.Span != d.Health.Errors.Span),
		"health.errors.least, health.errors.span: have no effect: health.errors.rate is 0")
	add(h.Isolation.Growth == 1 && h.Isolation.Max != h.Isolation.First && h.Isolation.Max != d.Health.Isolation.Max,
		"health.isolation.max: has no effect: health.isolation.growth is 1, every isolation lasts health.isolation.first")
	add(h.Isolation.Growth > 1 && h.Isolation.Max == h.Isolation.First,
		"health.isolation.growth: has no effect: health.isolation.first is as long as health.isolation.max")
	add(o.Hedge.Least == o.Hedge.Most && (o.Hedge.Quantile != d.Hedge.Quantile || o.Hedge.Factor != d.Hedge.Factor),
		"hedge.quantile, hedge.factor: have no effect: hedge.least and hedge.most are the same")
	add(o.Repeat.Share == 0 && o.Repeat.Burst == 0,
		"repeat.share, repeat.burst: are 0: no POST that may have arrived is ever sent again, nor hedged")
	add(o.Repeat.Burst == 0 && o.Repeat.Refill != d.Repeat.Refill,
		"repeat.refill: has no effect: repeat.burst is 0")
	add(!o.Hedge.Enabled && h.Silence == 0 && o.Hedge != d.Hedge.disabled(),
		"hedge: has no effect: hedge.enabled is false, and health.silence, which waits as long, is 0")
	return w
}

func (h Hedge) disabled() Hedge {
	h.Enabled = false
	return h
}

func originWarnings(o Options, origins []OriginOptions) (w []string) {
	tiers := make(map[int][]OriginOptions)
	enabled, widest := 0, 0
	for _, or := range origins {
		or = or.withDefaults()
		if !or.Enabled {
			continue
		}
		enabled++
		tiers[or.Priority] = append(tiers[or.Priority], or)
		widest = max(widest, len(tiers[or.Priority]))
	}
	switch enabled {
	case 0:
		return append(w, "origins: none is enabled: every request is refused")
	case 1:
		w = append(w, "origins: only one is enabled: there are no repeats and no hedges, and nothing is isolated")
	}
	for p := 1; p <= 5; p++ {
		w = append(w, tierWarnings(o, p, tiers[p])...)
	}
	if d := DefaultOptions(); widest == 1 && o.LatencySensitivity != d.LatencySensitivity {
		w = append(w, "latency_sensitivity: has no effect: no two enabled origins have the same priority")
	}
	if enabled == 1 && o.Health.PanicBelow > 0 {
		w = append(w, "health.panic_below: has no effect: only one origin is enabled")
	}
	return w
}

func tierWarnings(o Options, priority int, tier []OriginOptions) (w []string) {
	if len(tier) == 1 && tier[0].Weight != defaultWeight {
		w = append(w, fmt.Sprintf("origin %s: weight: has no effect: no other enabled origin has priority %d", tier[0].Name, priority))
	}
	if len(tier) < 2 || o.LatencySensitivity > 0 {
		return w
	}
	for _, or := range tier[1:] {
		if or.Weight != tier[0].Weight {
			return append(w, fmt.Sprintf("latency_sensitivity: is 0: the weights of priority %d have no effect on requests without affinity, unless latencies tie", priority))
		}
	}
	return w
}
