package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// backward takes what is wanted from the newest on. Of each partition as many
// records are looked for as the answer may have; then the newest of all are taken.
func (h *historian) backward(ctx context.Context) error {
	found := make([][]*Record, len(h.parts)) // newest first
	low := make([]int64, len(h.parts))       // what was looked through
	for i := range h.parts {
		var err error
		if found[i], low[i], err = h.newest(ctx, &h.parts[i], h.offsets/int64(len(h.parts))); err != nil {
			return err
		}
	}
	for h.left > 0 && h.bytes > 0 {
		pick := -1
		for i, f := range found {
			if len(f) > 0 && (pick < 0 || f[0].Timestamp.After(found[pick][0].Timestamp)) {
				pick = i
			}
		}
		if pick < 0 {
			break
		}
		r := found[pick][0]
		found[pick] = found[pick][1:]
		h.records = append(h.records, r)
		h.left--
		h.bytes -= recordBytes(r)
		h.parts[pick].next = r.Offset + 1
	}
	for i := range h.parts {
		a := &h.parts[i]
		switch {
		case len(found[i]) > 0:
			a.more = true
		case h.left <= 0 || h.bytes <= 0:
			a.more = a.next-1 > max(a.start, 0)
		default:
			a.next, a.more = low[i]+1, low[i] > max(a.start, 0)
		}
	}
	return nil
}

// firstSpan is how many offsets are read first, looking for the newest; then four
// times as many, and so on, so that little is read where there is much, and what
// is read twice is a third of what was read.
const firstSpan = 4096

// newest returns the newest records below a.to, newest first, looking through no
// more than budget offsets, and the offset down to which it looked.
func (h *historian) newest(ctx context.Context, a *past, budget int64) (found []*Record, low int64, err error) {
	found, low = h.newestHeld(a)
	if len(found) >= h.left || low <= 0 {
		return found, low, nil
	}
	if err := h.bound(ctx, a); err != nil {
		return nil, 0, err
	}
	held, top := found, low
	for span := int64(firstSpan); low > a.start && len(found) < h.left && top-low < budget; span *= 4 {
		o := &older{h: h, low: max(a.start, top-min(span, budget))}
		err := h.read(ctx, a, o.low, top, o.add)
		if errors.Is(err, ErrGone) {
			// Retention was faster; what it left is looked through.
			a.start = -1
			err = h.bound(ctx, a)
			if err == nil && span < budget {
				continue
			}
		}
		if err != nil {
			return nil, 0, fmt.Errorf("partition %d: %w", a.p.n, err)
		}
		low = o.low
		slices.Reverse(o.records)
		found = append(slices.Clone(held), o.records...)
		if o.full {
			break
		}
	}
	return found, low, nil
}

// older gathers the newest records of a piece that is read upwards.
type older struct {
	h       *historian
	records []*Record
	bytes   int64
	low     int64 // nothing from here on was let go
	full    bool
}

func (o *older) add(r *Record, u ruling) (bool, error) {
	if !u.live && !u.past || !matches(o.h.request.Subject, r) {
		return false, nil
	}
	c := *r
	o.records = append(o.records, &c)
	o.bytes += recordBytes(&c)
	for len(o.records) > o.h.left || o.bytes > o.h.bytes && len(o.records) > 1 {
		o.bytes -= recordBytes(o.records[0])
		o.low, o.full = o.records[0].Offset+1, true
		o.records[0], o.records = nil, o.records[1:]
	}
	return false, nil
}

// newestHeld does so in the ring.
func (h *historian) newestHeld(a *past) (found []*Record, low int64) {
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.ring.since(a.to); i > p.ring.tail && len(found) < h.left; i-- {
		e := p.ring.at(i - 1)
		if (e.ruling.live || e.ruling.past) && matches(h.request.Subject, e.record) {
			found = append(found, e.record)
		}
	}
	if len(found) >= h.left {
		return found, found[len(found)-1].Offset
	}
	return found, min(a.to, p.ring.from)
}
