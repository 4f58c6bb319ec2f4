package simulation

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/gateway"
	"postroad/internal/message"
)

// caught looks for a seed that shows the sabotage, by the words of the ledger.
func caught(t *testing.T, most uint64, s sabotage, words ...string) {
	t.Helper()
	caughtBy(t, most, func(seed uint64) (string, error) {
		v := simulate(t, seed, s)
		return v.log, v.err
	}, words...)
}

// caughtBy is caught with any way to play a seed.
func caughtBy(t *testing.T, most uint64, play func(seed uint64) (log string, err error), words ...string) {
	t.Helper()
	first, n := seeds(t, most)
	for seed := first; seed < first+n; seed++ {
		log, err := play(seed)
		if err == nil {
			continue
		}
		for _, w := range words {
			if strings.Contains(err.Error(), w) {
				t.Logf("caught by the %d. seed, %d: %v", seed-first+1, seed, err)
				return
			}
		}
		t.Logf("%s", log)
		t.Fatalf("seed %d is caught for something else: %v", seed, err)
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
	caught(t, 40, sabotage{options: func(p *plan) { p.window, p.settle = 0, 3*time.Minute }}, twice)
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
	caught(t, 40, sabotage{store: func(s gateway.Store) gateway.Store { return forgetful{s} }, options: func(p *plan) { p.settle = 3 * time.Minute }}, lost)
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

func TestTwinWithoutMargin(t *testing.T) { caught(t, 40, noMargin(), "which is well") }

// The ground of TestTwinWithoutRevocation: with the check, nobody goes on.
func TestStoppedClocks(t *testing.T) {
	first, n := seeds(t, 1)
	for seed := first; seed < first+n; seed++ {
		if v := simulate(t, seed, sabotage{options: sleepyForwarders}); v.err != nil {
			t.Logf("%s", v.log)
			t.Fatalf("POSTROAD_SIMULATION_SEED=%d: %v", seed, v.err)
		}
	}
}
