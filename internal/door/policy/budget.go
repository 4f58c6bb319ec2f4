package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds how many POSTs are sent twice: a bucket of tokens that each POST
// adds a share to, up to the burst. Where POSTs are few, time fills it, slowly.
// What time gave is an advance, which POSTs earn before they add anything: or
// there would be more than the share in steady state.
type budget struct {
	posted atomic.Uint64 // since the tokens were counted last
	rough  atomic.Bool   // whether there was a token when they were

	mu     sync.Mutex
	rule   Repeat  // guarded by mu
	tokens float64 // guarded by mu
	// advance is what time gave and POSTs have to earn yet. Guarded by mu.
	advance float64
	last    instant // guarded by mu
	// Since the group was made. Guarded by mu.
	posts, spent, refused uint64
}

// settleEvery is after how many POSTs tokens are counted although nobody spends
// any.
const settleEvery = 1024

func (b *budget) open(r Repeat) {
	b.rule, b.tokens = r, float64(r.Burst)
	b.rough.Store(b.tokens >= 1)
}

func (b *budget) update(r Repeat, now instant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(now)
	b.rule = r
	b.tokens = min(b.tokens, float64(r.Burst))
	b.rough.Store(b.tokens >= 1)
}

// settle counts the tokens. The caller holds mu.
func (b *budget) settle(now instant) {
	n := b.posted.Swap(0)
	b.posts += n
	passed := max(0, now-b.last)
	b.last = max(b.last, now)
	size := float64(max(b.rule.Burst, 1)) // 1, or no share of one could gather
	earned := float64(n) * b.rule.Share
	paid := min(earned, b.advance)
	b.advance -= paid
	b.tokens = min(size, b.tokens+earned-paid)
	given := min(size-b.tokens, float64(b.rule.Burst)*float64(passed)/float64(b.rule.Refill))
	b.advance = min(size, b.advance+given)
	b.tokens += given
	b.rough.Store(b.tokens >= 1)
}

// spend takes a token if reserve are left after it.
func (b *budget) spend(now instant, reserve float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(now)
	if b.tokens < 1+reserve {
		b.refused++
		return false
	}
	b.tokens--
	b.spent++
	b.rough.Store(b.tokens >= 1)
	return true
}

func (b *budget) any() bool { return b.rough.Load() }

// Posted counts a POST that a client sent, which earns its share of a repeat.
func (g *Group) Posted() {
	if g.budget.posted.Add(1)%settleEvery != 0 && g.budget.any() {
		return
	}
	g.budget.mu.Lock()
	defer g.budget.mu.Unlock()
	g.budget.settle(g.now())
}

// Spend takes one repeat of a POST from the budget, after an attempt that failed,
// and reports whether there was one left. A repeat of what surely did not reach
// any origin costs nothing and need not ask.
func (g *Group) Spend() bool { return g.budget.spend(g.now(), 0) }

// SpendHedge does the same for a hedge of a request that waits at o. While o
// otherwise answers, half the burst is left for a failure.
func (g *Group) SpendHedge(o *Origin) bool {
	reserve := 0.0
	if o.answers() {
		g.budget.mu.Lock()
		reserve = float64(g.budget.rule.Burst) / 2
		g.budget.mu.Unlock()
	}
	return g.budget.spend(g.now(), reserve)
}

// answers reports whether o is not in a run of silence.
func (o *Origin) answers() bool {
	o.traffic.mu.Lock()
	defer o.traffic.mu.Unlock()
	return o.healthy.Load() && o.traffic.silent < 2
}

// BudgetStatus is the repeat budget, for people and metrics.
type BudgetStatus struct {
	// Tokens is how many repeats there could be now, Burst how many at most.
	Tokens float64 `json:"tokens"`
	Burst  int     `json:"burst"`
	// Posted, Spent and Refused count since the group was made.
	Posted  uint64 `json:"posted"`
	Spent   uint64 `json:"spent"`
	Refused uint64 `json:"refused"`
}

func (b *budget) status(now time.Duration) BudgetStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(now)
	return BudgetStatus{Tokens: b.tokens, Burst: b.rule.Burst, Posted: b.posts, Spent: b.spent, Refused: b.refused}
}
