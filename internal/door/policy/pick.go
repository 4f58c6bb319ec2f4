package policy

import "math/bits"

// Ask is what a request brings to the choice of its origin.
type Ask struct {
	// Affinity, where not empty, sends all requests with the same bytes to the same
	// origin as long as it is usable.
	Affinity []byte
	// Sticky names the origin that took the client's requests before, from its
	// cookie; it is taken where it is usable, unless origins of a lower priority
	// number are back as a whole: a client leaves who stood in for them.
	Sticky string
	// Tried are the origins that this request was sent to already.
	Tried []*Origin
	// Hedge asks for a second origin while the first may still answer: only for one
	// that is usable and not in trouble itself.
	Hedge bool
}

// Pick returns the origin that takes a request, or nil if none is left. It never
// returns one that was tried, nor one that is disabled or held by an operator.
func (g *Group) Pick(a Ask) *Origin {
	now := g.now()
	v := g.current(now)
	out := v.maskOf(a.Tried)
	if a.Hedge {
		out |= ^v.hedge(g.conf.Load(), now, g.stalled(now))
	} else if a.Sticky != "" {
		if k := v.sticky(a.Sticky, out, now); k >= 0 {
			return v.cands[k].origin
		}
	}
	d := draw{turn: g.turn.Add(weyl), keyed: len(a.Affinity) > 0}
	if d.keyed {
		d.key = hashBytes(a.Affinity)
	}
	k := v.choose(&d, out, now)
	if k < 0 && !a.Hedge {
		k = v.lastResort(&d, out)
	}
	if k < 0 {
		return nil
	}
	return v.cands[k].origin
}

func (v *view) maskOf(tried []*Origin) (mask uint64) {
	for _, o := range tried {
		for k := range v.cands {
			if v.cands[k].origin == o {
				mask |= 1 << k
			}
		}
	}
	return mask
}

func (v *view) sticky(name string, out uint64, now instant) int {
	for k := range v.cands {
		if bit := uint64(1) << k; v.cands[k].origin.name == name && v.usable&^out&bit != 0 {
			if v.standsIn(bit, out, now) {
				return -1
			}
			return k
		}
	}
	return -1
}

// standsIn reports whether the origin is there for those of a lower number, and
// they are whole. By the same rule its streams are ended: without this a client
// would come back to it by its cookie, to be ended again.
func (v *view) standsIn(bit, out uint64, now instant) bool {
	for i := range v.tiers {
		if v.tiers[i].mask&bit != 0 {
			return false
		}
		whole := 0.0
		for left := v.tiers[i].mask &^ out; left != 0; left &= left - 1 {
			if c := &v.cands[bits.TrailingZeros64(left)]; c.ramp(now) >= 1 {
				whole += c.weight / c.full
			}
		}
		if whole > 1-1e-9 {
			return true
		}
	}
	return false
}

// draw is what one choice leaves to chance, or to the key.
type draw struct {
	turn, key uint64
	keyed     bool
}

// spill decides whether the request goes past a tier that takes only a part.
func (d *draw) spill() float64 {
	if d.keyed {
		return unit(mix(d.key ^ spillSalt))
	}
	return unit(mix(d.turn ^ spillSalt))
}

// admits reports whether an origin takes the request as far as its ramp has come.
// For a key it is the same at each request, and once admitted it stays so.
func (d *draw) admits(c *cand, now instant) bool {
	ramp := c.ramp(now)
	if ramp >= 1 {
		return true
	}
	if d.keyed {
		return unit(mix(d.key^c.origin.seed^admitSalt)) < ramp
	}
	return unit(mix(d.turn^c.origin.seed^admitSalt)) < ramp
}

// choose goes through the tiers. An origin whose ramp does not admit the request
// leaves it to the others, of its own tier and then of the next ones; only where
// nobody takes it, the first that could does.
func (v *view) choose(d *draw, out uint64, now instant) int {
	first := -1
	for i := range v.tiers {
		t := &v.tiers[i]
		left := t.mask &^ out
		spilled := t.share < 1 && d.spill() >= t.share
		for left != 0 {
			from := left & t.fast
			if d.keyed || from == 0 {
				from = left
			}
			k := v.among(d, from, false)
			if first < 0 {
				first = k
			}
			if spilled {
				break
			}
			if d.admits(&v.cands[k], now) {
				return k
			}
			left &^= 1 << k
		}
	}
	return first
}

// lastResort is for when no usable origin is left.
func (v *view) lastResort(d *draw, out uint64) int {
	for _, mask := range v.resorts {
		if left := mask &^ out; left != 0 {
			return v.among(d, left, true)
		}
	}
	return -1
}

// among chooses one of mask, which is not empty, by key or by weight.
func (v *view) among(d *draw, mask uint64, full bool) int {
	if mask&(mask-1) == 0 {
		return bits.TrailingZeros64(mask)
	}
	if d.keyed {
		return v.byKey(d.key, mask, full)
	}
	sum := 0.0
	for m := mask; m != 0; m &= m - 1 {
		sum += v.weight(bits.TrailingZeros64(m), full)
	}
	x := unit(d.turn) * sum
	last := 0
	for m := mask; m != 0; m &= m - 1 {
		last = bits.TrailingZeros64(m)
		if x -= v.weight(last, full); x < 0 {
			break
		}
	}
	return last
}

func (v *view) byKey(key, mask uint64, full bool) int {
	best, most := -1, -1.0
	for m := mask; m != 0; m &= m - 1 {
		k := bits.TrailingZeros64(m)
		if s := score(key, v.cands[k].origin.seed, v.weight(k, full)); s > most {
			best, most = k, s
		}
	}
	return best
}

func (v *view) weight(k int, full bool) float64 {
	if full {
		return v.cands[k].full
	}
	return v.cands[k].weight
}
