package console

import (
	"flag"
	"fmt"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"postroad/test/browser"
)

// The picture in the README is of the real thing: with `postroad dev` running,
//
//	go test ./internal/console -run 'TestScreenshots/^console$' \
//		-page http://127.0.0.1:8080/console/ -shots "$PWD/docs/images"
var (
	shots = flag.String("shots", "", "directory that TestScreenshots writes its pictures to")
	live  = flag.String("page", "", "address of a running console of `postroad dev` to draw instead of the test's own")
)

// tab is a browser with the page open.
type tab struct {
	*browser.Tab
	t *testing.T
}

func openPage(t *testing.T, page string, v browser.View) *tab {
	t.Helper()
	b := &tab{browser.Open(t, page, v), t}
	b.Do(chromedp.WaitVisible(css(`#endpoints input:checked`)))
	return b
}

// desk is a window of common size.
var desk = browser.View{Width: 1280, Height: 900}

type css = chromedp.CSS

// sane checks that the page complained of nothing and asked nobody else.
func (b *tab) sane(page string) {
	b.t.Helper()
	for _, c := range b.Complaints() {
		b.t.Errorf("the page complains: %s", c)
	}
	u, err := url.Parse(page)
	if err != nil {
		b.t.Fatal(err)
	}
	hosts := b.Hosts()
	if len(hosts) == 0 {
		b.t.Error("no request was seen")
	}
	for _, host := range hosts {
		if host != u.Host {
			b.t.Errorf("the page asked a foreign host: %q", host)
		}
	}
}

// eval returns what an expression of the page yields.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	return browser.Eval[T](b.Tab, js)
}

func (b *tab) choose(endpoint string) {
	b.t.Helper()
	b.Do(chromedp.Click(css(fmt.Sprintf(`input[name=endpoint][value=%q]`, endpoint))))
}

func (b *tab) fill(id, text string) {
	b.t.Helper()
	b.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById(%q).value = %q", id, text)))
}
