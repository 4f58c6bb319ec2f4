package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"postroad/test/browser"
)

// TestDocsPage loads the page in a browser under its own policy, looks for
// every operation, and sends a message with the form.
func TestDocsPage(t *testing.T) {
	r := newRig(t, nil)
	b := browser.Open(t, r.server.URL+"/docs#postClassic", browser.View{Width: 1300, Height: 1600})
	b.Do(chromedp.WaitVisible(chromedp.CSS("#postClassic[open] button")))
	doc := loadOpenAPI(t)
	for _, item := range doc.Paths.Map() {
		for _, o := range item.Operations() {
			b.Do(chromedp.WaitReady(chromedp.CSS("details.op#" + o.OperationID)))
		}
	}
	b.Do(chromedp.Click(chromedp.CSS("#postClassic button")), chromedp.WaitVisible(chromedp.CSS("#postClassic .try .status.good")))
	if m := r.one(); string(m.Key) != "van-17" || !strings.Contains(string(m.Value), `"arrived"`) {
		t.Errorf("sent %s", m.Value)
	}
	b.Do(chromedp.Click(chromedp.CSS("#postMessages summary")), chromedp.WaitVisible(chromedp.CSS("#postMessages button")),
		chromedp.Click(chromedp.CSS("#postMessages button")), chromedp.WaitVisible(chromedp.CSS("#postMessages .try .status.good")))
	if n := len(r.store.all()); n != 3 {
		t.Errorf("%d messages are stored, want the classic one and two lines", n)
	}
	if complaints := b.Complaints(); len(complaints) != 0 {
		t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
	}
	for _, host := range b.Hosts() {
		if host != "" && host != strings.TrimPrefix(r.server.URL, "http://") { // a data: URL has none
			t.Errorf("the page asked %s", host)
		}
	}
	if a := r.do(http.MethodGet, "/docs", ""); strings.Contains(a.header.Get("Content-Security-Policy"), "unsafe") {
		t.Errorf("policy %s", a.header.Get("Content-Security-Policy"))
	}
}
