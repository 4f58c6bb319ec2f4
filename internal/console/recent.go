package console

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// shown is a message as pages get it: cut to what is shown.
type shown struct {
	Message
	// Bytes is the length of the whole value as it stands in Message.
	Bytes int `json:"bytes"`
	// Cut says that key or value are not all there.
	Cut bool `json:"cut,omitempty"`
}

// The states of the hub.
const (
	hubUnknown = "unknown"
	hubUp      = "up"
	hubDown    = "down"
)

// hubState is whether the hub can be reached.
type hubState struct {
	State string    `json:"state"`
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"`
}

// The sources that judge the hub: it is up if none says otherwise.
const (
	sourceFeed = iota
	sourcePing
	sources
)

// recent holds the last messages and the state of the hub. Viewers have a
// position each and read from here, so that none holds up the feed or another.
type recent struct {
	limit int // of a key or value, in bytes

	mu      sync.Mutex
	ring    []shown        // message n stands at n % len; guarded by mu
	next    uint64         // number of the next message; guarded by mu
	errs    [sources]error // guarded by mu
	hub     hubState       // guarded by mu
	changed chan struct{}  // closed at the next change; guarded by mu
}

func newRecent(o Options) *recent {
	return &recent{
		limit: o.ShownBytes, ring: make([]shown, o.RecentMessages),
		hub: hubState{State: hubUnknown, Since: time.Now().UTC()}, changed: make(chan struct{}),
	}
}

func (r *recent) add(m Message) {
	s := cut(m, r.limit)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next%uint64(len(r.ring))] = s
	r.next++
	r.wake()
}

// wake tells the viewers that something changed. The caller holds mu.
func (r *recent) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// judge takes the word of one source and returns the state of the hub, and
// whether it changed.
func (r *recent) judge(source int, err error) (hubState, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs[source] = err
	now := hubState{State: hubUp, Since: time.Now().UTC()}
	for _, e := range r.errs {
		if e != nil {
			now.State, now.Error = hubDown, e.Error()
			break
		}
	}
	if now.State == r.hub.State {
		return r.hub, false
	}
	r.hub = now
	r.wake()
	return now, true
}

// view is what a viewer gets next.
type view struct {
	messages []shown
	skipped  uint64 // messages before these that are gone from here
	next     uint64 // where to go on
	hub      hubState
	changed  <-chan struct{} // closes when there is more
}

// from returns what there is from message n on; a number that is yet to come
// counts as the next.
func (r *recent) from(n uint64) view {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := view{next: r.next, hub: r.hub, changed: r.changed}
	n = min(n, r.next)
	if oldest := r.next - min(r.next, uint64(len(r.ring))); n < oldest {
		v.skipped = oldest - n
		n = oldest
	}
	for ; n < r.next; n++ {
		v.messages = append(v.messages, r.ring[n%uint64(len(r.ring))])
	}
	return v
}

// oldest is the number of the oldest message that is still here.
func (r *recent) oldest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next - min(r.next, uint64(len(r.ring)))
}

// cut keeps of a message what is shown. Texts that are cut are copied, or they
// would keep the whole in memory.
func cut(m Message, limit int) shown {
	s := shown{Message: m, Bytes: len(m.Value)}
	if len(m.Value) > limit {
		s.Cut = true
		end := limit / 4 * 4 // whole groups of base64 decode
		if !m.ValueBase64 {
			end = len(cutText(m.Value, limit))
		}
		s.Value = strings.Clone(m.Value[:end])
	}
	if m.Key != nil && len(*m.Key) > limit {
		key := strings.Clone(cutText(*m.Key, limit))
		s.Key, s.Cut = &key, true
	}
	return s
}

// cutText cuts at the beginning of a character.
func cutText(s string, limit int) string {
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
