package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"postroad/internal/stream/wire"
)

// sentFrames are frames as a node sends them, with what stands in them.
func sentFrames(bare bool) (stream []byte, messages []string) {
	var payload []byte
	for i, size := range []int{0, 1, 127, 128, 70_000, 3} {
		m := bytes.Repeat([]byte{byte('a' + i)}, size)
		messages = append(messages, string(m))
		if bare {
			if size > 0 { // frames of nothing are none of a bare engine
				stream = wire.AppendFrame(stream, false, m)
			}
			continue
		}
		payload = append(binary.AppendUvarint(payload, uint64(size)), m...)
		if i%2 == 1 {
			stream = wire.AppendFrame(stream, true, payload)
			payload = nil
		}
	}
	if bare {
		messages = messages[1:]
	}
	return append(stream, ws.MustCompileFrame(ws.NewPingFrame([]byte("skipped")))...), messages
}

// However reads cut the stream, each message counts once; kept, it is whole.
func TestFrames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, bare := range []bool{false, true} {
		stream, want := sentFrames(bare)
		for round := range 200 {
			kept, counted := frames{bare: bare, keep: true}, frames{bare: bare}
			var got []string
			n, pings := 0, 0
			for rest := stream; len(rest) > 0; {
				k := 1 + rng.IntN(min(len(rest), 1<<rng.IntN(18)))
				err := errors.Join(
					kept.feed(rest[:k], func(m []byte) { got = append(got, string(m)) }),
					counted.feed(rest[:k], func(m []byte) {
						n++
						if m != nil && len(m) == 0 {
							pings++
						}
					}))
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || n != len(want) || pings != strings.Count(fmt.Sprintf("%q", want), `""`) {
				t.Fatalf("round %d, bare %v: %d messages kept, %d counted, %d pings; want %d", round, bare, len(got), n, pings, len(want))
			}
		}
	}
}

func TestFramesThatEnd(t *testing.T) {
	var f frames
	if err := f.feed(ws.MustCompileFrame(ws.NewCloseFrame(nil)), nil); !errors.Is(err, errClosed) {
		t.Errorf("a close frame: %v", err)
	}
	f = frames{}
	if err := f.feed(wire.AppendFrame(nil, true, bytes.Repeat([]byte{0xff}, 11)), nil); err == nil {
		t.Error("a length without an end is accepted")
	}
}

func FuzzFrames(f *testing.F) {
	stream, _ := sentFrames(false)
	f.Add(stream[:300], 7)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var whole, parts frames
		var a, b int
		errA := whole.feed(in, func([]byte) { a++ })
		at := min(max(cut, 0), len(in))
		errB := parts.feed(in[:at], func([]byte) { b++ })
		if errB == nil {
			errB = parts.feed(in[at:], func([]byte) { b++ })
		}
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("whole %d, %v; cut at %d: %d, %v", a, errA, at, b, errB)
		}
	})
}
