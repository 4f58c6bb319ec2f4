package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"postroad/test/browser"
)

const (
	topAnswer  = `document.querySelector("#answers > li")?.innerText ?? ""`
	topMessage = `document.querySelector("#messages > tr")?.innerText ?? ""`
	rows       = `document.querySelectorAll("#messages > tr").length`
)

// TestPageSends follows one message after another from the form to the hub.
func TestPageSends(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	b.Until(`[...document.querySelectorAll(".endpoint")].every(e => e.innerText.includes("healthy,"))`)
	if n := eval[int](b, `document.querySelectorAll(".endpoint").length`); n != 3 {
		t.Fatalf("%d endpoints", n)
	}

	b.choose("cloud")
	b.fill("sender", "sensor-7")
	b.fill("value", "hello {n}")
	b.Click("send")
	b.Until(`document.querySelector("#answers > li .arrival.seen") !== null`)
	for _, want := range []string{"200", "accepted by cloud", "correlation id", "receipt", "in the hub after", "partition 0, offset 0"} {
		if got := eval[string](b, topAnswer); !strings.Contains(got, want) {
			t.Errorf("the answer lacks %q: %s", want, got)
		}
	}
	for _, want := range []string{"cloud", "0 / 0", "sensor-7", "hello {n}", "sent from here"} {
		if got := eval[string](b, topMessage); !strings.Contains(got, want) {
			t.Errorf("the message lacks %q: %s", want, got)
		}
	}
	if got := s.cloud.bodies(); len(got) != 1 || got[0] != `{"senderId":"sensor-7","value":"hello {n}"}` {
		t.Errorf("the stamp got %q", got)
	}

	b.choose("door")
	b.Click("send")
	b.Until(`document.querySelectorAll("#answers > li .arrival.seen").length === 2`)
	if got := eval[string](b, topAnswer); !strings.Contains(got, "accepted by onprem through door") {
		t.Errorf("the newest answer is not on top: %s", got)
	}
	s.hub.put("onprem", "feed0000-0000-8000-8000-000000000000", "other", "from elsewhere")
	b.Until(rows + ` === 3`)
	if got := eval[string](b, topMessage); !strings.Contains(got, "from elsewhere") || strings.Contains(got, "sent from here") {
		t.Errorf("the newest message: %s", got)
	}
	b.sane(s.url)
}

// TestPageErrors: a problem is shown by title and detail, silence as such.
func TestPageErrors(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	answer := func(parts ...string) {
		t.Helper()
		b.Until(fmt.Sprintf(`(%s).includes(%q)`, topAnswer, parts[0]))
		got := eval[string](b, topAnswer)
		for _, want := range parts {
			if !strings.Contains(got, want) {
				t.Errorf("the answer lacks %q: %s", want, got)
			}
		}
	}
	b.choose("onprem")
	b.fill("sender", "")
	b.Click("send")
	answer("400", "Bad request · onprem", "senderId is missing or empty")
	s.onprem.sick.Store(true)
	b.Click("send")
	answer("503", "Not available now · onprem", "draining", "may be tried again after 2 s")
	s.onpremListener.Config.SetKeepAlivesEnabled(false)
	_ = s.onpremListener.Listener.Close()
	s.onpremListener.CloseClientConnections()
	b.Click("send")
	answer("none", "No answer · onprem", "connection refused")
	b.Until(`document.querySelector("input[value=onprem]").closest("label").innerText.includes("unhealthy")`)
	if n := eval[int](b, `document.querySelectorAll("#answers > li").length`); n != 3 {
		t.Errorf("%d answers", n)
	}
	b.Click("clear-answers")
	b.Until(`document.querySelectorAll("#answers > li").length === 0 && !document.querySelector("#no-answers").hidden`)
	b.sane(s.url)
}

// TestPagePauses: what arrives meanwhile is counted, and shown afterwards.
func TestPagePauses(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	s.hub.put("onprem", "id-before", "k", "before the page was opened")
	eventually(t, "the message kept", func() bool { return len(s.recent.from(0).messages) == 1 })
	b := openPage(t, s.url, desk)
	b.Until(rows + ` === 1`)
	b.Click("pause")
	for i := range 3 {
		s.hub.put("cloud", fmt.Sprint("id-", i), "k", fmt.Sprint("meanwhile ", i))
	}
	b.Until(`document.querySelector("#pause").innerText === "Resume (3 new)"`)
	if n := eval[int](b, rows); n != 1 {
		t.Errorf("%d rows while paused", n)
	}
	b.Click("pause")
	b.Until(rows + ` === 4`)
	if got := eval[string](b, topMessage); !strings.Contains(got, "meanwhile 2") {
		t.Errorf("the newest message: %s", got)
	}
	b.sane(s.url)
}

// TestPageIsBounded: the list keeps its length, and says what it left out.
func TestPageIsBounded(t *testing.T) {
	o := DefaultOptions()
	o.RecentMessages = 20
	s := newSite(t, o, nil)
	b := openPage(t, s.url, desk)
	for i := range 1000 {
		s.hub.put("onprem", fmt.Sprint("id-", i), "k", fmt.Sprint("value ", i))
	}
	b.Until(`(` + topMessage + `).includes("value 999")`)
	if n := eval[int](b, rows); n > 200 {
		t.Errorf("%d rows", n)
	}
	b.Until(`document.querySelector("#tally").innerText === "newest first, the last 200 of 1,000"`)
	if !eval[bool](b, `[...document.querySelectorAll("#messages .gap")].some(e => e.innerText.includes("not shown"))`) {
		t.Error("messages were left out without a word")
	}
	b.sane(s.url)
}

// TestPageTakesNothingForMarkup: a message is text, wherever the page shows it.
func TestPageTakesNothingForMarkup(t *testing.T) {
	const evil = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b>bold</b>`
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	b.choose("onprem")
	b.fill("sender", evil)
	b.fill("value", evil)
	b.Click("send")
	b.Until(`document.querySelector("#answers > li .arrival.seen") !== null`)
	key := evil
	s.hub.messages <- Message{Topic: evil, Partition: 1, Offset: 99, Time: time.Now(), Stamp: evil, Key: &key, Value: evil, ID: evil}
	b.Until(rows + ` === 2`)
	b.Do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll(".more").forEach(e => e.click())`))
	b.Until(`document.querySelectorAll("#messages > tr.full").length === 2`)
	if got := eval[string](b, `document.querySelector("#messages .full").innerText`); strings.Count(got, evil) != 4 {
		t.Errorf("the details do not show the message as it is: %s", got)
	}
	if eval[bool](b, `"pwned" in window || document.querySelector("main img, main script, main b:not(.what b)") !== null`) {
		t.Error("a message became markup")
	}
	b.sane(s.url)
}

// TestPageByKeyboard: every step works without a pointer, in the order in
// which it is read.
func TestPageByKeyboard(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	tab := func() string {
		b.Do(chromedp.KeyEvent("\t"))
		return eval[string](b, `document.activeElement.id || document.activeElement.name || document.activeElement.className || document.activeElement.tagName`)
	}
	var order []string
	for range 11 {
		order = append(order, tab())
	}
	want := "skip endpoint sender value SUMMARY send clear-answers scroll pause clear-messages"
	if got := strings.Join(order, " "); !strings.HasPrefix(got, want) {
		t.Errorf("focus goes %s, want %s", got, want)
	}
	b.Do(chromedp.Focus(css(`input[value=door]`)), chromedp.KeyEvent(kb.ArrowDown))
	if got := eval[string](b, `document.querySelector("input[name=endpoint]:checked").value`); got != "onprem" {
		t.Errorf("the arrow chose %s", got)
	}
	b.Do(chromedp.Focus(css("#value")))
	b.Do(chromedp.Evaluate[chromedp.Void](`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", ctrlKey: true, bubbles: true}))`))
	b.Until(rows + ` === 1`)
	b.Do(chromedp.Focus(css(".more")), chromedp.KeyEvent("\r"))
	b.Until(`document.querySelector(".more").getAttribute("aria-expanded") === "true" && document.querySelector(".full") !== null`)
	b.Do(chromedp.KeyEvent("\r"))
	b.Until(`document.querySelector(".full") === null`)
	b.sane(s.url)
}

// TestPageSendsSeveral: a series is numbered, and can be stopped.
func TestPageSendsSeveral(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	b.Do(chromedp.Click(css(".series summary")))
	b.fill("value", "message {n}")
	b.fill("count", "5")
	b.fill("interval", "0")
	b.Click("send")
	b.Until(`document.querySelectorAll("#answers > li .arrival.seen").length === 5 && document.querySelector("#send").innerText === "Send"`)
	if got := eval[string](b, topMessage); !strings.Contains(got, "message 5") {
		t.Errorf("the last message: %s", got)
	}
	b.fill("count", "1000")
	b.fill("interval", "60000")
	b.Click("send")
	b.Until(`document.querySelector("#send").innerText === "Stop" && document.querySelectorAll("#answers > li .arrival.seen").length === 6`)
	b.Click("send")
	b.Until(`document.querySelector("#send").innerText === "Send"`)
	if n := len(s.onprem.bodies()); n != 6 {
		t.Errorf("%d messages were sent", n)
	}
	b.sane(s.url)
}

// TestPageShowsOutage: the page says when the hub went, and when it is back.
func TestPageShowsOutage(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	b := openPage(t, s.url, desk)
	s.hub.fail <- errors.New("broker <b>gone</b>")
	b.Until(`!document.querySelector("#outage").hidden && document.querySelector("#outage").innerText.includes("Hub unreachable since ")`)
	if got := eval[string](b, `document.querySelector("#outage").innerText`); !strings.Contains(got, "broker <b>gone</b>") {
		t.Errorf("the notice: %s", got)
	}
	s.hub.put("onprem", "id-1", "k", "back")
	b.Until(`document.querySelector("#outage").hidden && document.querySelector("#hub").innerText === "hub connected" && ` + rows + ` === 1`)
	b.sane(s.url)
}

// scene fills the page with what an operator might see. It takes only what the
// page offers, so that it works with a real site.
func scene(b *tab) {
	b.t.Helper()
	b.Until(`[...document.querySelectorAll(".endpoint")].every(e => e.innerText.includes("healthy"))`)
	for _, m := range []sendRequest{
		{"onprem", "pump-station-4", `{"level":2.41,"unit":"m","flow":118.2}`},
		{"cloud", "vehicle-118", `{"lat":48.20817,"lon":16.37382,"speed":42}`},
		{"onprem", "substation-12", `{"breaker":"closed","load":0.71}`},
		{"cloud", "vehicle-031", `{"lat":48.21442,"lon":16.36098,"speed":17}`},
		{"onprem", "pump-station-4", `{"level":2.43,"unit":"m","flow":117.9}`},
		{"cloud", "tunnel-vent-2", `{"state":"running","rpm":640}`},
	} {
		body, err := json.Marshal(m)
		if err != nil {
			b.t.Fatal(err)
		}
		n := eval[int](b, rows)
		b.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
			`fetch("api/send", {method: "POST", headers: {"Content-Type": "application/json"}, body: %q})`, body), chromedp.EvalAwaitPromise))
		b.Until(fmt.Sprintf(`%s === %d`, rows, n+1))
	}
	send := func(endpoint, sender, value string) {
		b.choose(endpoint)
		b.fill("sender", sender)
		b.fill("value", value)
		n := eval[int](b, `document.querySelectorAll("#answers > li").length`)
		b.Click("send")
		b.Until(fmt.Sprintf(`document.querySelectorAll("#answers > li").length === %d && !document.querySelector("#answers .waiting")`, n+1))
	}
	send("onprem", "", "a sender id is missing here")
	send("cloud", "control-room", "Shift handover complete")
	send("door", "control-room", "Level check, station 4")
	b.Until(`document.querySelectorAll("#answers > li .arrival.seen").length === 2`)
	b.Do(chromedp.Evaluate[chromedp.Void](`Promise.all(document.getAnimations().map(a => a.finished))`, chromedp.EvalAwaitPromise))
}

// TestScreenshots draws the page as it is shown in the documentation and as it
// is on other screens. Without -shots it only checks that nothing overflows.
func TestScreenshots(t *testing.T) {
	for _, shot := range []struct {
		name string
		view browser.View
	}{
		{"console", browser.View{Width: 1360, Height: 880}},
		{"console-dark", browser.View{Width: 1360, Height: 880, Dark: true}},
		{"console-narrow", browser.View{Width: 390, Height: 844}},
		{"console-tablet", browser.View{Width: 900, Height: 1100, Dark: true}},
	} {
		t.Run(shot.name, func(t *testing.T) {
			page := *live
			if page == "" {
				page = newSite(t, DefaultOptions(), nil).url
			}
			b := openPage(t, page, shot.view)
			scene(b)
			if over := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				t.Errorf("the page is %d px too wide", over)
			}
			b.sane(page)
			if *shots == "" {
				return
			}
			png := b.Picture(shot.view.Width < 1000)
			if err := os.WriteFile(filepath.Join(*shots, shot.name+".png"), png, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}
