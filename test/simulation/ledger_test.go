package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"postroad/internal/message"
)

// ledger is what was asked, what was answered, and who did what. Requests are
// known by their bytes.
type ledger struct {
	mu      sync.Mutex
	asked   []*request              // guarded by mu
	bodies  map[string]*request     // guarded by mu
	writers map[string]*process     // guarded by mu: gateways by lane
	newest  map[*process]string     // guarded by mu: each gateway's latest lane
	chains  map[string]string       // guarded by mu: by lane
	holder  map[string]*process     // guarded by mu: who has claimed a chain last
	strays  map[stray]time.Duration // guarded by mu: when it began
}

// stray is a process that sends messages of a chain that another has claimed.
type stray struct {
	chain string
	by    *process
}

func (l *ledger) init() {
	l.bodies, l.writers, l.newest = map[string]*request{}, map[string]*process{}, map[*process]string{}
	l.chains, l.holder, l.strays = map[string]string{}, map[string]*process{}, map[stray]time.Duration{}
}

func (w *world) asked(r *request) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	w.ledger.asked = append(w.ledger.asked, r)
	w.ledger.bodies[r.body] = r
}

func (w *world) answered(r *request, t try) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	r.tries = append(r.tries, t)
}

func (w *world) acknowledged(r *request, _ *process) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	r.acknowledged = true
}

// made and wrote are told of what processes do to files.
func (p *process) made(name string) {
	if lane := laneOf(name); lane != "" && isFence(name) && p.gateway {
		l := &p.w.ledger
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writers[lane], l.newest[p] = p, lane
	}
}

// wrote: nobody ends the lane of a gateway that is well.
func (p *process) wrote(name string, b []byte) {
	if !isFence(name) || p.gateway || len(b) == 0 || b[0] == 0 {
		return
	}
	lane := laneOf(name)
	l := &p.w.ledger
	l.mu.Lock()
	by := l.writers[lane]
	current := by != nil && l.newest[by] == lane
	l.mu.Unlock()
	if current && by.well() {
		p.w.fail(fmt.Errorf("%s ends lane %s of %s, which is well", p.name, lane, by.name))
	}
}

func (p *process) claimed(chain string) {
	p.w.decide("%s has claimed %s", p.name, chain)
	l := &p.w.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder[chain] = p
	delete(l.strays, stray{chain, p})
}

// belong notes of which chain messages are.
func (l *ledger) belong(msgs []message.Stored, chain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range msgs {
		l.chains[msgs[i].Lane] = chain
	}
}

// sent: who sends messages of a chain that another has claimed stops when it
// saves progress, at the latest.
func (w *world) sent(p *process, lane string) {
	now, l := w.elapsed(), &w.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	chain := l.chains[lane]
	holder := l.holder[chain]
	if holder == nil || holder == p {
		return
	}
	s := stray{chain, p}
	began, known := l.strays[s]
	if !known {
		l.strays[s] = now
		return
	}
	p.mu.Lock()
	began = max(began, p.resumed)
	p.mu.Unlock()
	if now-began > 2*w.plan.forward.SaveInterval+2*landLimit {
		w.fail(fmt.Errorf("%s still sends messages of chain %s, which %s has claimed", p.name, chain, holder.name))
	}
}

// counts are what a run had in it.
type counts struct {
	requests, acknowledged, records, hidden, sleepers int
	// leftOut are late twins that were not sent. Those that were are young where
	// they were not late yet when they were sent, else raced.
	leftOut, young, raced int
}

func (c *counts) add(o counts) {
	c.requests += o.requests
	c.acknowledged += o.acknowledged
	c.records += o.records
	c.hidden += o.hidden
	c.leftOut += o.leftOut
	c.young += o.young
	c.raced += o.raced
	c.sleepers += o.sleepers
}

func (c counts) String() string {
	return fmt.Sprintf("%d requests, %d acknowledged, %d records, %d duplicates hidden within W, %d late twins left out, further apart than W %d that were not late when they were sent and %d that nobody could see, %d sent by forwarders whose clocks stood still",
		c.requests, c.acknowledged, c.records, c.hidden, c.leftOut, c.young, c.raced, c.sleepers)
}

// missing counts acknowledged requests that are not in the hub.
func (w *world) missing() int {
	in := map[string]bool{}
	w.hub.change(func() {
		for _, log := range w.hub.logs {
			for _, r := range log {
				in[r.value] = true
			}
		}
	})
	n := 0
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, r := range w.ledger.asked {
		if r.acknowledged && !in[r.body] {
			n++
		}
	}
	return n
}

// showing is what a reader showed of one partition.
type showing struct {
	offset int64
	record
}

// read is a reader of one partition that looks back w offsets from where it
// begins, and shows what is at or above it.
func read(log []record, w int, from int64) (shown []showing) {
	win := message.NewWindow(w)
	for o := max(0, from-int64(w)); o < int64(len(log)); o++ {
		if !win.Seen(log[o].id, o) && o >= from {
			shown = append(shown, showing{o, log[o]})
		}
	}
	return shown
}

// judge holds what readers were shown against what clients were told.
func (w *world) judge() (counts, error) {
	w.mu.Lock()
	err := w.wrong
	w.mu.Unlock()
	if err != nil {
		return counts{}, err
	}
	c := counts{requests: len(w.ledger.asked), leftOut: int(w.leftOut.Load())}
	seen := map[string]bool{}
	for _, p := range slices.SortedFunc(maps.Keys(w.hub.logs), comparePart) {
		log := w.hub.logs[p]
		shown := read(log, w.plan.window, 0)
		c.records += len(log)
		c.hidden += len(log) - len(shown)
		for _, s := range shown {
			seen[s.value] = true
			if r := w.ledger.bodies[s.value]; r == nil || r.topic != p.topic || r.key != s.key {
				return c, fmt.Errorf("%v/%d shows what nobody sent: %q", p, s.offset, short(s.value))
			}
		}
		if err := w.judgeTwice(p, log, shown, &c); err != nil {
			return c, err
		}
		if err := w.judgeOrder(p, shown); err != nil {
			return c, err
		}
		from := int64(w.rng.IntN(len(log) + 1))
		late := read(log, w.plan.window, from)
		rest := slices.IndexFunc(shown, func(s showing) bool { return s.offset >= from })
		if rest < 0 {
			rest = len(shown)
		}
		if !slices.Equal(late, shown[rest:]) {
			return c, fmt.Errorf("%v: a reader that begins at %d shows something else", p, from)
		}
	}
	var lost []string
	for _, r := range w.ledger.asked {
		if !r.acknowledged {
			continue
		}
		if c.acknowledged++; !seen[r.body] {
			lost = append(lost, r.String())
		}
	}
	if len(lost) > 0 {
		return c, fmt.Errorf("%d acknowledged and lost: %s", len(lost), strings.Join(lost[:min(5, len(lost))], "; "))
	}
	return c, nil
}

func comparePart(a, b part) int {
	if a.topic != b.topic {
		return strings.Compare(a.topic, b.topic)
	}
	return int(a.partition - b.partition)
}

// judgeTwice: the same bytes are shown once within W, and one stored copy once
// altogether. Two copies that were stored apart may be shown both where they lie
// further apart than W, see judgeLate.
func (w *world) judgeTwice(p part, log []record, shown []showing, c *counts) error {
	last := map[string]showing{}
	places := map[message.Place]int64{}
	for _, s := range shown {
		if o, twice := places[s.place]; twice && (s.by.everStop || log[o].by.everStop) {
			c.sleepers++
			last[s.value] = s
			continue
		} else if twice {
			return fmt.Errorf("%v: one stored copy of %q is shown twice, at %d and %d, by %s and %s",
				p, short(s.value), o, s.offset, log[o].by.name, s.by.name)
		}
		places[s.place] = s.offset
		before, twice := last[s.value]
		last[s.value] = s
		if !twice {
			continue
		}
		if s.offset-before.offset <= window {
			return fmt.Errorf("%v: %q is shown twice within W, at %d (by %s) and %d (by %s)",
				p, short(s.value), before.offset, before.by.name, s.offset, s.by.name)
		}
		if err := w.judgeLate(p, log, before, s, c); err != nil {
			return err
		}
	}
	return nil
}

// judgeOrder: of one key and one gateway process run, what was acknowledged
// before something else was sent is shown before it, where neither was sent more
// than once.
func (w *world) judgeOrder(p part, shown []showing) error {
	at := map[string]int64{}
	for _, s := range shown {
		if _, ok := at[s.value]; !ok {
			at[s.value] = s.offset
		}
	}
	type source struct {
		key string
		by  *process
	}
	last := map[source]*request{}
	for _, r := range w.ledger.asked {
		o, here := at[r.body]
		if !here || len(r.tries) != 1 || r.tries[0].status/100 != 2 {
			continue
		}
		from := source{r.key, r.tries[0].by}
		if before := last[from]; before != nil && before.tries[0].ended <= r.tries[0].began && at[before.body] > o {
			return fmt.Errorf("%v: %q at %d is shown before %q at %d, which %s took earlier",
				p, short(r.body), o, short(before.body), at[before.body], from.by.name)
		}
		last[from] = r
	}
	return nil
}

func short(body string) string {
	head, _, _ := strings.Cut(body, " ")
	return head
}

func (r *request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s", short(r.body), r.topic)
	for _, t := range r.tries {
		fmt.Fprintf(&b, ", %s said %d at %.3fs", t.by.name, t.status, t.ended.Seconds())
	}
	return b.String()
}
