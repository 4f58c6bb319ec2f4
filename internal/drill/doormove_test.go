package drill

import "testing"

// What a move may be: each client once, or once more for each change that came in
// between.
func TestMovedWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		Moved
		wrong bool
	}{
		{"each once", Moved{Ended: 10, Most: 1}, false},
		{"one strayed", Moved{Ended: 10, Most: 1, Strayed: 1}, false},
		{"one twice", Moved{Ended: 11, Most: 2}, true},
		{"one twice, another not at all", Moved{Ended: 10, Most: 2}, true},
		{"one not at all", Moved{Ended: 9, Most: 1}, true},
		{"the origin was left out meanwhile", Moved{Ended: 14, Most: 3, LeftOut: 1}, false},
		{"more often than it was left out", Moved{Ended: 14, Most: 4, LeftOut: 1}, true},
	} {
		if got := c.Wrong(10); (got != "") != c.wrong {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
