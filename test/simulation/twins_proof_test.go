//go:build proof

package simulation

import (
	"context"
	"path"
	"strings"
	"testing"
	"time"

	"postroad/internal/forward"
	"postroad/internal/message"
)

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

func TestProofSimulationWithoutFence(t *testing.T)      { caught(t, 60, noFence(), lost) }
func TestProofSimulationWithoutSync(t *testing.T)       { caught(t, 60, noSync(), lost) }
func TestProofSimulationWithoutRevocation(t *testing.T) { caught(t, 40, noRevocation(), "still sends") }
func TestProofSimulationWithoutReadBack(t *testing.T)   { caught(t, 60, noReadBack(), twice) }
