package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
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

// tab is a headless browser that notes what a page loads and complains of.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	hosts      []string // guarded by mu
	complaints []string // guarded by mu
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "NO BROWSER: install chromium to test the page /docs"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func openTab(t *testing.T) *tab {
	t.Helper()
	path := chromium(t)
	profile, err := os.MkdirTemp("", "gateway-docs") //nolint:usetesting // the browser may still write there when the test ends
	if err != nil {
		t.Fatal(err)
	}
	alloc, end := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Headless,
		chromedp.WindowSize(1300, 1600), chromedp.WSURLReadTimeout(time.Minute), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, closeTab := chromedp.NewContext(alloc)
	b := &tab{t: t, ctx: ctx}
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
	if err := chromedp.Listen(ctx, b.watch); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	enable(b, network.Enable, network.EnableParams{})
	enable(b, log.Enable, cdp.Empty{})
	enable(b, runtime.Enable, cdp.Empty{})
	return b
}

func enable[P, R any](b *tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

func (b *tab) watch(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" {
			b.hosts = append(b.hosts, u.Host)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// TestDocsPage loads the page in a browser under its own policy, looks for
// every operation, and sends a message with the form.
func TestDocsPage(t *testing.T) {
	b := openTab(t)
	r := newRig(t, nil)
	b.do(chromedp.Navigate(r.server.URL+"/docs#postClassic"), chromedp.WaitVisible(chromedp.CSS("#postClassic[open] button")))
	doc := loadOpenAPI(t)
	for _, item := range doc.Paths.Map() {
		for _, o := range item.Operations() {
			b.do(chromedp.WaitReady(chromedp.CSS("details.op#" + o.OperationID)))
		}
	}
	b.do(chromedp.Click(chromedp.CSS("#postClassic button")), chromedp.WaitVisible(chromedp.CSS("#postClassic .try .status.good")))
	if m := r.one(); string(m.Key) != "van-17" || !strings.Contains(string(m.Value), `"arrived"`) {
		t.Errorf("sent %s", m.Value)
	}
	b.do(chromedp.Click(chromedp.CSS("#postMessages summary")), chromedp.WaitVisible(chromedp.CSS("#postMessages button")),
		chromedp.Click(chromedp.CSS("#postMessages button")), chromedp.WaitVisible(chromedp.CSS("#postMessages .try .status.good")))
	if n := len(r.store.all()); n != 3 {
		t.Errorf("%d messages are stored, want the classic one and two lines", n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) != 0 {
		t.Errorf("the browser complains: %s", strings.Join(b.complaints, "\n"))
	}
	for _, host := range slices.Compact(slices.Sorted(slices.Values(b.hosts))) {
		if host != strings.TrimPrefix(r.server.URL, "http://") {
			t.Errorf("the page asked %s", host)
		}
	}
	if a := r.do(http.MethodGet, "/docs", ""); strings.Contains(a.header.Get("Content-Security-Policy"), "unsafe") {
		t.Errorf("policy %s", a.header.Get("Content-Security-Policy"))
	}
}
