package web_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
	tab := r.open(t, "http://"+a+"/demo/?nodes="+portOf(t, a)+","+portOf(t, b), browser.View{Width: 1200, Height: 900})
	tab.Until(`document.getElementById("recovered").textContent === "none yet"`)
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
	r.shows(t, tab)
	if n := tab.Text("vehicles"); n != "60" {
		t.Errorf("%s vehicles, want 60", n)
	}
	sane(t, tab, []string{a}, a, b)
}

// TestPageAtTheDoor is the page as it comes through the front door. The picture in
// docs/demo.md is made, from the module's root, with
//
//	go test ./web -run 'TestPageAtTheDoor/pictures/^demo$' -shots "$PWD/docs/images"
func TestPageAtTheDoor(t *testing.T) {
	count := 120
	if *shots != "" {
		count = 300
	}
	r := newRig(t, count)
	t.Run("pictures", r.pictures)
	t.Run("keyboard", r.keyboard)
	t.Run("everything is killed", r.outlives)
}

// outlives: stamps, hub, nodes and door are killed at once and come back. So does
// the page, by itself, with every partition recovered; and the vehicles, whose
// requests under way are repeated until they are accepted. In the end the page has
// the last position of each.
func (r *rig) outlives(t *testing.T) {
	door := hostOf(t, r.dev.Addresses.Door)
	tab := r.open(t, "http://"+door+"/demo/", browser.View{Width: 1200, Height: 900})
	tab.Until(`["onprem", "cloud"].includes(document.getElementById("node").textContent)`)
	tab.Until(`document.getElementById("recovered").textContent === "none yet"`)
	r.restart(t)
	keep(t, tab, "demo-broken", false)
	tab.Until(`document.getElementById("recovered").textContent === "recovered"`)
	keep(t, tab, "demo-resumed", false)
	_, before := r.told.seen()
	eventually(t, "more positions", func() bool { _, n := r.told.seen(); return n > before+300 })
	r.stop()
	r.shows(t, tab)
	if n := tab.Text("vehicles"); n != strconv.Itoa(r.count) {
		t.Errorf("%s vehicles, want %d", n, r.count)
	}
	sane(t, tab, []string{door}, door)
}

// keep writes a picture where they are wanted.
func keep(t *testing.T, tab *browser.Tab, name string, whole bool) {
	t.Helper()
	if *shots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), tab.Picture(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keyboard: the controls work without a mouse.
func (r *rig) keyboard(t *testing.T) {
	door := hostOf(t, r.dev.Addresses.Door)
	tab := r.open(t, "http://"+door+"/demo/", browser.View{Width: 1200, Height: 900})
	tab.Press("\t\r") // the link to the controls
	tab.Until(`document.activeElement.id === "find"`)
	tab.Press("tram")
	tab.Until(fmt.Sprintf(`document.getElementById("found").textContent === "%d vehicles"`, r.count/5))
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
	eventually(t, "more positions", func() bool { _, n := r.told.seen(); return n > before+120 })
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

// pictures: the page on several screens, none of which it is wider than; with
// -shots they are kept, and there are more.
func (r *rig) pictures(t *testing.T) {
	door := hostOf(t, r.dev.Addresses.Door)
	for _, shot := range []struct {
		name  string
		view  browser.View
		find  string
		extra bool
	}{
		{"demo", browser.View{Width: 1360, Height: 900}, "", true},
		{"demo-dark", browser.View{Width: 1360, Height: 900, Dark: true}, "tram", true},
		{"demo-follow", browser.View{Width: 1360, Height: 900}, "tram-7", true},
		{"demo-narrow", browser.View{Width: 360, Height: 780}, "bus-12", false},
		{"demo-narrow-dark", browser.View{Width: 360, Height: 780, Dark: true}, "", true},
		{"demo-tablet", browser.View{Width: 820, Height: 1100, Dark: true}, "3", false},
	} {
		if shot.extra && *shots == "" {
			continue
		}
		t.Run(shot.name, func(t *testing.T) {
			tab := r.open(t, "http://"+door+"/demo/", shot.view)
			tab.Do(evaluate(fmt.Sprintf(`{ const f = document.getElementById("find"); f.value = %q; f.dispatchEvent(new Event("input")); }`, shot.find)))
			if strings.Contains(shot.find, "-") {
				tab.Click("follow")
			}
			tab.Until(`/^[0-9.]+ m?s$/.test(document.getElementById("p95").textContent)`)
			tab.Until(`Number(document.getElementById("rate").textContent) > 10`)
			if over := browser.Eval[int](tab, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				t.Errorf("the page is %d px too wide", over)
			}
			sane(t, tab, nil, door)
			if *shots != "" {
				_, before := r.told.seen()
				eventually(t, "something to see in the figures", func() bool { _, n := r.told.seen(); return n > before+20*r.count })
				keep(t, tab, shot.name, shot.view.Width < 1000)
			}
		})
	}
}
