package simulation

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/message"
)

// caught looks for a seed that shows the sabotage, by the words of the ledger.
func caught(t *testing.T, most uint64, s sabotage, words ...string) {
	t.Helper()
	first, n := seeds(t, most)
	for seed := first; seed < first+n; seed++ {
		v := simulate(t, seed, s)
		if v.err == nil {
			continue
		}
		for _, w := range words {
			if strings.Contains(v.err.Error(), w) {
				t.Logf("caught by the %d. seed, %d: %v", seed-first+1, seed, v.err)
				return
			}
		}
		t.Logf("%s", v.log)
		t.Fatalf("seed %d is caught for something else: %v", seed, v.err)
	}
	if os.Getenv("POSTROAD_SIMULATION_SEED") != "" {
		t.Logf("not shown by seed %d", first)
		return
	}
	t.Errorf("%d seeds do not show it: the check is worth nothing", n)
}

// only has a run disturbed often, and by little else.
func only(what ...func(context.Context, *world, *rand.Rand)) func(*plan) {
	return func(p *plan) {
		p.upset, p.upsets, p.settle = 3*time.Second, nil, 3*time.Minute
		for _, do := range what {
			p.upsets = append(p.upsets, disturbance{1, do})
		}
	}
}

const (
	lost      = "acknowledged and lost"
	twice     = "shown twice"
	disagrees = "shows something else"
)

// Readers that do not look back.
func TestTwinWithoutWindow(t *testing.T) {
	caught(t, 5, sabotage{options: func(p *plan) { p.window = 0 }}, twice)
}

// forgetful derives ids without the digest of what was sent.
type forgetful struct{ gateway.Store }

func (f forgetful) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	own := append([]message.Message(nil), msgs...)
	for i := range own {
		own[i].ID = message.DeriveID(own[i].Principal, own[i].Topic, string(own[i].KeyHash[:]), message.Hash{}, i)
	}
	return f.Store.Append(ctx, own)
}

func TestTwinWithoutDigest(t *testing.T) {
	caught(t, 10, sabotage{store: func(s gateway.Store) gateway.Store { return forgetful{s} }}, lost)
}

// A gateway that finds every fence empty.
func noFence() sabotage {
	return sabotage{
		spoil: spoil{read: func(p *process, name string, b []byte) {
			if p.gateway && isFence(name) {
				clear(b)
			}
		}},
		options: only(pauseGateway),
	}
}

// A gateway that acknowledges what is not synced.
func noSync() sabotage {
	return sabotage{
		spoil:   spoil{sync: func(p *process, name string) bool { return p.gateway && path.Ext(name) == ".seg" }},
		options: only(blackOut, cutFromHub),
	}
}

func TestTwinWithoutSync(t *testing.T) { caught(t, 20, noSync(), lost) }

// A forwarder to which no claim is ever revoked, on a machine whose clock stands
// still while it is paused.
func noRevocation() sabotage {
	s := sabotage{
		spoil: spoil{read: func(p *process, name string, b []byte) {
			if !p.gateway && strings.HasPrefix(path.Base(name), "revoked.") {
				clear(b)
			}
		}},
		options: sleepyForwarders,
	}
	return s
}

// sleepyForwarders are two of each stamp, paused with their clocks.
func sleepyForwarders(p *plan) {
	only(pauseForwarder)(p)
	p.stopForwarders = true
	p.second[1], p.second[3] = true, true
	p.upset, p.forward.SaveInterval = 12*time.Second, 500*time.Millisecond
	p.messages, p.pace, p.clients = 200, 400*time.Millisecond, 4
}

// A forwarder to which every other process looks dead: its heartbeat stands still.
func noMargin() sabotage {
	var mu sync.Mutex
	seen := map[string][]byte{}
	return sabotage{
		spoil: spoil{read: func(p *process, name string, b []byte) {
			if p.gateway || !isHeartbeat(name) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first, ok := seen[p.name+name]; ok {
				copy(b, first)
			} else {
				seen[p.name+name] = bytes.Clone(b)
			}
		}},
		options: func(p *plan) { p.upsets, p.messages, p.pace = nil, 150, 400*time.Millisecond },
	}
}

func TestTwinWithoutMargin(t *testing.T) { caught(t, 5, noMargin(), "which is well") }

// A forwarder that takes a segment for missing where its host remembers that it
// was not there.
func trustAbsence() sabotage {
	return sabotage{
		spoil: spoil{create: func(p *process, name string) bool {
			l := &p.w.ledger
			l.mu.Lock()
			defer l.mu.Unlock()
			return !p.gateway && path.Ext(name) == ".seg" && l.writers[laneOf(name)] != nil
		}},
		options: func(p *plan) {
			only(killProcess, stopProcess)(p)
			p.size, p.share.LookupCache = 6000, 0
		},
	}
}

// blind finds nothing when it reads back.
type blind struct{ *link }

func (blind) ReadBack(context.Context, []message.Mark, func(message.Place, message.Mark)) ([]message.Mark, error) {
	return nil, nil
}

func noReadBack() sabotage {
	return sabotage{
		sink: func(l *link) forward.Sink { return blind{l} },
		options: func(p *plan) {
			only(killProcess, pauseForwarder)(p)
			p.pace, p.messages, p.topics, p.clients = 100*time.Millisecond, 200, p.topics[:1], 4
			p.forward.SaveInterval, p.upset = 30*time.Second, 8*time.Second
		},
	}
}

func TestTwinWithoutFence(t *testing.T)      { caught(t, 40, noFence(), lost) }
func TestTwinWithoutRevocation(t *testing.T) { caught(t, 20, noRevocation(), "still sends") }
func TestTwinTrustsAbsence(t *testing.T)     { caught(t, 40, trustAbsence(), lost) }
func TestTwinWithoutReadBack(t *testing.T)   { caught(t, 40, noReadBack(), twice) }

// The ground of TestTwinWithoutRevocation: with the check, nobody goes on.
func TestStoppedClocks(t *testing.T) {
	first, n := seeds(t, 2)
	for seed := first; seed < first+n; seed++ {
		if v := simulate(t, seed, sabotage{options: sleepyForwarders}); v.err != nil {
			t.Logf("%s", v.log)
			t.Fatalf("POSTROAD_SIMULATION_SEED=%d: %v", seed, v.err)
		}
	}
}
