package web_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"postroad/test/browser"
)

func evaluate(js string) chromedp.Action[chromedp.Void] { return chromedp.Evaluate[chromedp.Void](js) }

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestPageGoesOnWithoutItsNode: the node that the page came from and is connected
// to is killed. The page goes on at another, which recovers every partition, and
// has the last position of each vehicle that was accepted in the end.
func TestPageGoesOnWithoutItsNode(t *testing.T) {
	r := newRig(t, 60)
	a, b := r.node(), r.node()
	tab := r.open("http://"+a+"/demo/?nodes="+portOf(t, a)+","+portOf(t, b), browser.View{Width: 1200, Height: 900})
	tab.Until(`document.getElementById("recovered").textContent === "first time"`)
	tab.Until(`/^[0-9.]+ m?s$/.test(document.getElementById("p95").textContent)`)
	tab.Until(`Number(document.getElementById("rate").textContent) > 0`)

	r.kill(a)
	tab.Until(`document.getElementById("recovered").textContent === "recovered"`)
	tab.Until(`document.getElementById("state").dataset.state === "up"`)
	log := tab.Text("log")
	if !strings.Contains(log, "all recovered") || !strings.Contains(log, "lost ") {
		t.Errorf("log: %s", log)
	}
	_, before := r.told.seen()
	eventually(t, "more positions", func() bool { _, n := r.told.seen(); return n > before+200 })
	r.stop()
	r.shows(tab)
	if n := tab.Text("vehicles"); n != "60" {
		t.Errorf("%s vehicles, want 60", n)
	}
	sane(t, tab, []string{a}, a, b)
}

// TestPageThroughTheDoor: at the door the page and its stream come from whichever
// node is there, and all of it is same-origin.
func TestPageThroughTheDoor(t *testing.T) {
	r := newRig(t, 40)
	door := hostOf(t, r.dev.Addresses.Door)
	tab := r.open("http://"+door+"/demo/", browser.View{Width: 1200, Height: 900})
	tab.Until(`["onprem", "cloud"].includes(document.getElementById("node").textContent)`)
	r.stop()
	r.shows(tab)
	sane(t, tab, nil, door)
}

// TestPageOutlivesEverything: stamps, hub, nodes and door are killed at once and
// come back. So does the page, by itself, with every partition recovered; and the
// vehicles, whose requests under way are repeated until they are accepted.
func TestPageOutlivesEverything(t *testing.T) {
	r := newRig(t, 40)
	door := hostOf(t, r.dev.Addresses.Door)
	tab := r.open("http://"+door+"/demo/", browser.View{Width: 1200, Height: 900})
	tab.Until(`document.getElementById("recovered").textContent === "first time"`)
	r.restart()
	tab.Until(`document.getElementById("recovered").textContent === "recovered"`)
	_, before := r.told.seen()
	eventually(t, "more positions", func() bool { _, n := r.told.seen(); return n > before+100 })
	r.stop()
	r.shows(tab)
	if n := tab.Text("vehicles"); n != "40" {
		t.Errorf("%s vehicles, want 40", n)
	}
	sane(t, tab, []string{door}, door)
}

// TestControls: they work by keyboard alone.
func TestControls(t *testing.T) {
	r := newRig(t, 40)
	door := hostOf(t, r.dev.Addresses.Door)
	tab := r.open("http://"+door+"/demo/", browser.View{Width: 1200, Height: 900})
	tab.Press("\t\r") // the link to the controls
	tab.Until(`document.activeElement.id === "find"`)
	tab.Press("tram")
	tab.Until(`document.getElementById("found").textContent === "8 vehicles"`)
	tab.Press("-3")
	tab.Until(`document.getElementById("found").textContent === "1 vehicle"`)
	tab.Until(`document.getElementById("card").textContent.startsWith("tram-3 · line ")`)
	tab.Press("\t")
	tab.Until(`document.activeElement.id === "follow"`)
	tab.Press(" ")
	tab.Until(`document.getElementById("follow").getAttribute("aria-pressed") === "true"`)
	tab.Press("\t ")
	tab.Until(`document.getElementById("pause").getAttribute("aria-pressed") === "true"`)
	tab.Until(`document.getElementById("announce").textContent !== ""`)
	still := browser.Eval[string](tab, `document.getElementById("map").toDataURL()`)
	_, before := r.told.seen()
	eventually(t, "more positions", func() bool { _, n := r.told.seen(); return n > before+60 })
	if browser.Eval[string](tab, `document.getElementById("map").toDataURL()`) != still {
		t.Error("the picture moves although it is paused")
	}
	tab.Press(" ")
	tab.Until(fmt.Sprintf(`document.getElementById("map").toDataURL() !== %q`, still))
	tab.Do(evaluate(`document.getElementById("find").focus()`))
	tab.Press("\x1b")
	tab.Until(`document.getElementById("find").value === "" && document.getElementById("card").hidden && document.getElementById("follow").disabled`)
	sane(t, tab, nil, door)
}

// TestPictures draws the page as it is seen on several screens; with -shots it
// keeps the pictures. None is wider than its screen.
func TestPictures(t *testing.T) {
	r := newRig(t, 300)
	door := hostOf(t, r.dev.Addresses.Door)
	for _, shot := range []struct {
		name string
		view browser.View
		find string
	}{
		{"demo", browser.View{Width: 1360, Height: 900}, ""},
		{"demo-dark", browser.View{Width: 1360, Height: 900, Dark: true}, "tram"},
		{"demo-follow", browser.View{Width: 1360, Height: 900}, "tram-7"},
		{"demo-narrow", browser.View{Width: 360, Height: 780}, ""},
		{"demo-narrow-dark", browser.View{Width: 360, Height: 780, Dark: true}, "bus-12"},
		{"demo-tablet", browser.View{Width: 820, Height: 1100}, "3"},
	} {
		t.Run(shot.name, func(t *testing.T) {
			tab := r.open("http://"+door+"/demo/", shot.view)
			tab.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{ const f = document.getElementById("find"); f.value = %q; f.dispatchEvent(new Event("input")); }`, shot.find)))
			if strings.Contains(shot.find, "-") {
				tab.Click("follow")
			}
			tab.Until(`/^[0-9.]+ m?s$/.test(document.getElementById("p95").textContent)`)
			tab.Until(`Number(document.getElementById("rate").textContent) > 100`)
			if over := browser.Eval[int](tab, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				t.Errorf("the page is %d px too wide", over)
			}
			sane(t, tab, nil, door)
			if *shots == "" {
				return
			}
			if err := os.WriteFile(filepath.Join(*shots, shot.name+".png"), tab.Picture(shot.view.Width < 1000), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}
