package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "NO BROWSER: install chromium to test event streams with it"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// openTab starts a headless browser.
func openTab(t *testing.T) context.Context {
	t.Helper()
	path := chromium(t)
	profile, err := os.MkdirTemp("", "stream-events") //nolint:usetesting // the browser may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	alloc, end := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Headless,
		chromedp.WSURLReadTimeout(time.Minute), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, closeTab := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
		closeTab()
		end()
		if err := os.RemoveAll(profile); err != nil {
			t.Logf("the browser's profile stays: %v", err)
		}
	})
	// This starts the browser, which ends with the context that it is started with.
	if err := chromedp.Listen(ctx, func(any) {}); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

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
	tab := openTab(t)
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) {
		n.opts.SSE.Retry = 20 * time.Millisecond
		n.demo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, page)
		})
	})
	within := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		ctx, cancel := context.WithTimeout(tab, time.Minute)
		defer cancel()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("browser: %v", err)
		}
	}
	state := func() (s struct {
		Got          []string
		Gaps, Opened int
	},
	) {
		t.Helper()
		ctx, cancel := context.WithTimeout(tab, time.Minute)
		defer cancel()
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`JSON.stringify({Got: window.got, Gaps: window.gaps, Opened: window.opened})`))
		if err == nil {
			err = json.Unmarshal([]byte(text), &s)
		}
		if err != nil {
			t.Fatalf("browser: %v", err)
		}
		return s
	}
	within(chromedp.Navigate(n.url+"/demo/"), chromedp.WaitReady(chromedp.CSS("#open")))
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
