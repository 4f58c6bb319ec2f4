package stream

import (
	"encoding/base64"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"postroad/internal/stream/live"
)

func view(first int32, next ...int64) []live.Position {
	all := make([]live.Position, len(next))
	for i, n := range next {
		all[i] = live.Position{Epoch: "epoch-" + string('a'+first+int32(i)), Partition: first + int32(i), Next: n}
	}
	return all
}

func TestPositionComesBack(t *testing.T) {
	wide := make([]int64, maxView)
	for i := range wide {
		wide[i] = math.MaxInt64 - int64(i)
	}
	for name, all := range map[string][]live.Position{
		"one": view(3, 42), "fresh": view(0, 0), "some": view(0, 1, 128, 16384, 0), "as many and as large as can be": view(0, wide...),
	} {
		t.Run(name, func(t *testing.T) {
			text := positionOf(all).String()
			if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(text) > maxToken {
				t.Fatalf("text %q", text)
			}
			p, err := parsePosition(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.since(all); !reflect.DeepEqual(got, all) || p.reverse {
				t.Fatalf("came back as %v, was %v", got, all)
			}
			p.reverse = true
			if back, err := parsePosition(p.String()); err != nil || !reflect.DeepEqual(back, p) || p.String() == text {
				t.Fatalf("in reverse it came back as %v, %v", back, err)
			}
		})
	}
}

// A position of another view, or of another epoch of one of its partitions, is
// not taken for one of this view: its offsets would skip messages.
func TestPositionOfAnotherView(t *testing.T) {
	all := view(0, 5, 6, 7)
	other := view(0, 5, 6, 7)
	other[2].Epoch = "made anew"
	for name, now := range map[string][]live.Position{
		"epoch": other, "fewer": all[:2], "elsewhere": all[1:], "more": view(0, 5, 6, 7, 8), "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			got := positionOf(all).since(now)
			if len(got) != len(now) {
				t.Fatalf("positions %v for a view of %d", got, len(now))
			}
			for i, at := range got {
				if at.Epoch != "" || at.Partition != now[i].Partition {
					t.Fatalf("taken for one of this view: %v", got)
				}
			}
		})
	}
}

func TestPositionsThatAreNone(t *testing.T) {
	good := positionOf(view(2, 300, 4)).String()
	// 300 written in three bytes instead of two: another text of the same position.
	long := base64.RawURLEncoding.EncodeToString(append([]byte{1, 2, 2, 1, 2, 3, 4, 5, 6, 7, 8}, 0xac, 0x82, 0x00, 4))
	for name, text := range map[string]string{
		"empty": "", "no text of ours": "42", "other letters": good[:3] + "+" + good[4:], "padded": good + "==",
		"not in its shortest form": long,
		"cut":                      good[:len(good)-2], "longer": good + "AA", "another version": "B" + good[1:], "very long": strings.Repeat("A", maxToken+1),
	} {
		if p, err := parsePosition(text); !errors.Is(err, errPosition) {
			t.Errorf("%s: %q is read as %v, %v", name, text, p, err)
		}
	}
}

func TestPositionMovesOn(t *testing.T) {
	p := positionOf(view(4, 10, 20))
	if !p.set(5, 21) || p.set(3, 1) || p.set(6, 1) {
		t.Fatal("which partitions are in view is told wrong")
	}
	if want := []int64{10, 21}; !reflect.DeepEqual(p.next, want) {
		t.Fatalf("next %v, want %v", p.next, want)
	}
}

// What is read is written back as it was, so that no two texts are one position.
func FuzzPosition(f *testing.F) {
	f.Add(positionOf(view(0, 1)).String())
	f.Add(positionOf(view(7, 1, 200, 70000, math.MaxInt64)).String())
	backward := positionOf(view(0, 5))
	backward.reverse = true
	f.Add(backward.String())
	f.Add("AQAB")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePosition(s)
		if err != nil {
			return
		}
		if len(p.next) == 0 || len(p.next) > maxView || p.first < 0 {
			t.Fatalf("%q is read as %v", s, p)
		}
		for _, n := range p.next {
			if n < 0 {
				t.Fatalf("%q is read as %v", s, p)
			}
		}
		if p.String() != s {
			t.Fatalf("%q is written %q", s, p.String())
		}
	})
}
