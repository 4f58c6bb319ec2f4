package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds every step with the browser.
const patience = time.Minute

// Tab is a tab of a browser of its own. It is used by one goroutine.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	hosts      map[string]bool // guarded by mu
	complaints []string        // guarded by mu
}

// View is how large a page is and which colours the system asks for.
type View struct {
	Width, Height int64
	Dark          bool
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "NO BROWSER: install chromium to test the page (looked for chromium, chromium-browser, google-chrome, google-chrome-stable)"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// Open starts a browser, which the end of the test ends, and opens a page.
func Open(t testing.TB, page string, v View) *Tab {
	t.Helper()
	path := find(t)
	profile, err := os.MkdirTemp("", "tested-browser-") //nolint:usetesting // the browser may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Headless, chromedp.WindowSize(int(v.Width), int(v.Height)), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, f := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "no-default-browser-check"} {
		opts = append(opts, chromedp.Flag(f, true))
	}
	alloc, end := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, closeTab := chromedp.NewContext(alloc)
	b := &Tab{t: t, ctx: ctx, hosts: map[string]bool{}}
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
	if err := chromedp.Listen(ctx, b.watch); err != nil { // starts the browser
		t.Fatalf("start %s: %v", path, err)
	}
	command(b, network.Enable, network.EnableParams{})
	command(b, log.Enable, cdp.Empty{})
	command(b, runtime.Enable, cdp.Empty{})
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	b.Do(chromedp.EmulateViewport(v.Width, v.Height), chromedp.Navigate(page))
	return b
}

// command runs a command of the protocol.
func command[P, R any](b *Tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// watch notes hosts, exceptions and complaints, the policy's included.
func (b *Tab) watch(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.note(e.Request.URL)
	case *network.EventWebSocketCreated:
		b.note(e.URL)
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console %s: %s", e.Type, describe(e.Args)))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

func (b *Tab) note(address string) {
	if u, err := url.Parse(address); err == nil {
		b.hosts[u.Host] = true
	}
}

func describe(args []*runtime.RemoteObject) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.Description + string(a.Value)
	}
	return strings.Join(parts, " ")
}

// Do takes steps, one after the other.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v\n%s", err, strings.Join(b.Complaints(), "\n"))
	}
}

// Result takes a step and returns what it yields.
func Result[T any](b *Tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("browser: %v\n%s", err, strings.Join(b.Complaints(), "\n"))
	}
	return v
}

// Eval returns what an expression of the page yields.
func Eval[T any](b *Tab, js string) T {
	b.t.Helper()
	return Result(b, chromedp.Evaluate[T](js))
}

// Until waits for an expression to become true.
func (b *Tab) Until(js string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](js, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(patience/2)))
	if err != nil {
		b.t.Fatalf("waited for %s: %v\n%s\n%s", js, err, Eval[string](b, `document.body.innerText`), strings.Join(b.Complaints(), "\n"))
	}
}

// Text is what an element shows, by its id.
func (b *Tab) Text(id string) string {
	b.t.Helper()
	return Eval[string](b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// Press sends keys to what has the focus.
func (b *Tab) Press(keys string) {
	b.t.Helper()
	b.Do(chromedp.KeyEvent(keys))
}

// Click clicks an element, by its id.
func (b *Tab) Click(id string) {
	b.t.Helper()
	b.Do(chromedp.Click(chromedp.CSS("#" + id)))
}

// Complaints are what the page and the browser have complained of so far.
func (b *Tab) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

// Hosts are the hosts, with ports, that the page asked so far.
func (b *Tab) Hosts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for h := range b.hosts {
		list = append(list, h)
	}
	return list
}

// Picture draws what is in view, or the whole page.
func (b *Tab) Picture(whole bool) []byte {
	b.t.Helper()
	if whole {
		return Result(b, chromedp.FullScreenshot(100))
	}
	return Result(b, chromedp.CaptureScreenshot())
}
