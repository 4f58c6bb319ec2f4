package stream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"postroad/test/browser"
)

// page keeps what the browser's own EventSource brings, as an application would.
const page = `<!doctype html><title>events</title><p id="state">new</p><script>
window.got = []; window.gaps = 0; window.opened = 0;
const s = new EventSource('/v1/topics/one/stream?key=a');
s.onopen = () => { window.opened++; document.getElementById('state').id = 'open' };
s.onmessage = (e) => window.got.push(JSON.parse(e.data).value);
s.addEventListener('gap', () => window.gaps++);
</script>`

// A bare EventSource of a browser comes back by itself, whenever and however its
// stream ends, and the page sees each message once.
func TestBrowserComesBack(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) {
		n.opts.SSE.Retry = 20 * time.Millisecond
		n.demo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, page)
		})
	})
	tab := browser.Open(t, n.url+"/demo/", browser.View{Width: 800, Height: 600})
	tab.Do(chromedp.WaitReady(chromedp.CSS("#open")))
	state := func() (s struct {
		Got          []string
		Gaps, Opened int
	},
	) {
		t.Helper()
		text := browser.Eval[string](tab, `JSON.stringify({Got: window.got, Gaps: window.gaps, Opened: window.opened})`)
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return s
	}
	var want []string
	for round := range 5 {
		for i := range 4 {
			want = append(want, log1(log.Send("one", "a", fmt.Sprintf("%d-%d", round, i))))
			if i == 1 {
				for _, c := range n.connections.snapshot() {
					c.stop(leaveAge)
				}
			}
		}
		await(t, "the page to have all", func() bool { return len(state().Got) >= len(want) })
	}
	if s := state(); !slices.Equal(s.Got, want) || s.Gaps != 0 || s.Opened < 5 {
		t.Errorf("the page saw %q, %d gaps, %d times opened; want %q", s.Got, s.Gaps, s.Opened, want)
	}
}
