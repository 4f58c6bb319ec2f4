package console

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// The picture in the README is of the real thing: with `postroad dev` running,
//
//	go test ./internal/console -run 'TestScreenshots/^console$' \
//		-page http://127.0.0.1:8080/console/ -shots "$PWD/docs/images"
var (
	shots = flag.String("shots", "", "directory that TestScreenshots writes its pictures to")
	live  = flag.String("page", "", "address of a running console of `postroad dev` to draw instead of the test's own")
)

// browser is a headless Chromium with the page open, which remembers what the
// page asked for and complained of.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	hosts      map[string]bool // guarded by mu
	complaints []string        // guarded by mu
}

func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "NO BROWSER: install chromium to test the page (looked for chromium, chromium-browser, google-chrome)"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func openBrowser(t *testing.T, page string, width, height int64) *browser {
	t.Helper()
	path := findBrowser(t)
	profile, err := os.MkdirTemp("", "console-browser") //nolint:usetesting // the browser may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Headless, chromedp.WindowSize(int(width), int(height)), chromedp.WSURLReadTimeout(time.Minute),
	}
	for _, f := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "no-default-browser-check"} {
		opts = append(opts, chromedp.Flag(f, true))
	}
	alloc, end := chromedp.NewExecAllocator(context.Background(), opts...)
	tab, closeTab := chromedp.NewContext(alloc)
	b := &browser{t: t, ctx: tab, hosts: map[string]bool{}}
	t.Cleanup(func() {
		if err := chromedp.Cancel(tab); err != nil {
			t.Logf("close the browser: %v", err)
		}
		closeTab()
		end()
		if err := os.RemoveAll(profile); err != nil {
			t.Logf("the browser's profile stays: %v", err)
		}
	})
	if err := chromedp.Listen(tab, b.watch); err != nil { // starts the browser
		t.Fatalf("start %s: %v", path, err)
	}
	command(b, network.Enable, network.EnableParams{})
	command(b, log.Enable, cdp.Empty{})
	command(b, runtime.Enable, cdp.Empty{})
	b.do(chromedp.EmulateViewport(width, height),
		chromedp.Navigate(page), chromedp.WaitVisible(css(`#endpoints input:checked`)))
	return b
}

type css = chromedp.CSS

// patience bounds every step with the browser.
const patience = time.Minute

// command runs a command of the protocol.
func command[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// watch notes hosts, exceptions and complaints, the policy's included.
func (b *browser) watch(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil {
			b.hosts[u.Host] = true
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console %s: %s", e.Type, describe(e.Args)))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

func describe(args []*runtime.RemoteObject) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.Description + string(a.Value)
	}
	return strings.Join(parts, " ")
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v\n%s", err, strings.Join(b.said(), "\n"))
	}
}

func result[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("browser: %v\n%s", err, strings.Join(b.said(), "\n"))
	}
	return v
}

func (b *browser) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

// sane checks that the page complained of nothing and asked nobody else.
func (b *browser) sane(page string) {
	b.t.Helper()
	for _, c := range b.said() {
		b.t.Errorf("the page complains: %s", c)
	}
	u, err := url.Parse(page)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.hosts) == 0 {
		b.t.Error("no request was seen")
	}
	for host := range b.hosts {
		if host != u.Host {
			b.t.Errorf("the page asked a foreign host: %q", host)
		}
	}
}

// eval returns what an expression of the page yields.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	return result(b, chromedp.Evaluate[T](js))
}

// until waits for an expression to become true.
func (b *browser) until(js string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](js, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second)))
	if err != nil {
		b.t.Fatalf("waited for %s: %v\n%s", js, err, eval[string](b, `document.body.innerText`))
	}
}

func (b *browser) choose(endpoint string) {
	b.t.Helper()
	b.do(chromedp.Click(css(fmt.Sprintf(`input[name=endpoint][value=%q]`, endpoint))))
}

func (b *browser) fill(id, text string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById(%q).value = %q", id, text)))
}

func (b *browser) click(id string) {
	b.t.Helper()
	b.do(chromedp.Click(css("#" + id)))
}
