package door

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"postroad/internal/door/carry"
)

// grouped is a door of three groups, each one stamp that names itself.
func grouped(t *testing.T, o *Options, names ...string) map[string]*stamp {
	t.Helper()
	stamps := map[string]*stamp{}
	if o.Groups == nil {
		o.Groups = map[string]Group{}
	}
	for _, name := range names {
		stamps[name] = newStamp(t, name, nil)
		o.Groups[name] = Group{Settings: testOptions().Settings, Origins: []Origin{{Name: "o-" + name, URL: stamps[name].URL}}}
	}
	return stamps
}

func TestRoutes(t *testing.T) {
	o := testOptions()
	grouped(t, &o, "shop", "api", "wild", "rest")
	o.Routes = []Route{
		{Group: "rest"},
		{Group: "shop", Hosts: []string{"Shop.example", "[2001:db8::1]"}},
		{Group: "api", Hosts: []string{"shop.example"}, Paths: []string{"/api", "/only/"}},
		{Group: "wild", Hosts: []string{"*.example"}},
		{Group: "api", Paths: []string{"/everywhere"}},
	}
	f := open(t, o, Deps{})
	for _, c := range []struct {
		host, path string
		group      string
		status     int
	}{
		{"shop.example", "/", "shop", 200},
		{"SHOP.example:8443", "/x", "shop", 200},
		{"shop.example.", "/x", "shop", 200},
		{"[2001:db8::1]:80", "/x", "shop", 200},
		{"shop.example", "/api", "api", 200},
		{"shop.example", "/api/x", "api", 200},
		{"shop.example", "/apix", "shop", 200},
		{"shop.example", "/only", "shop", 200},
		{"shop.example", "/only/x", "api", 200},
		{"shop.example", "/everywhere", "shop", 200}, // the host counts first
		{"a.example", "/api", "wild", 200},
		{"a.b.example", "/", "wild", 200},
		{"example", "/", "rest", 200},
		{"other", "/everywhere/x", "api", 200},
		{"other", "/", "rest", 200},
		// Dot segments do not lead around a route.
		{"shop.example", "/api/../x", "", 400},
		{"shop.example", "/x/../api/y", "", 400},
		{"shop.example", "/x/%2e%2e/api/y", "", 400},
		{"shop.example", "//api", "", 400},
		{"shop.example", "/x/../y", "shop", 200},
	} {
		res, _, _ := raw(t, f.url, "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n")
		if got := res.Header.Get("Stamp"); got != c.group || res.StatusCode != c.status {
			t.Errorf("%s%s: %d from %q, want %d from %q", c.host, c.path, res.StatusCode, got, c.status, c.group)
		}
	}
}

// Without routes there is one group for what stream nodes serve, and one for all
// else; nothing is served where no route leads.
func TestDefaultRoutes(t *testing.T) {
	o := testOptions()
	grouped(t, &o, "streams", "stamps")
	f := open(t, o, Deps{})
	for path, want := range map[string]string{"/connection/websocket": "streams", "/v1/topics/a/messages": "stamps", "/": "stamps"} {
		if a := ask(t, http.MethodGet, f.url+path, nil); a.header.Get("Stamp") != want {
			t.Errorf("%s went to %q", path, a.header.Get("Stamp"))
		}
	}
	two := testOptions()
	grouped(t, &two, "a", "b")
	if err := two.Validate(); err == nil || !strings.HasPrefix(err.Error(), "routes: none: ") {
		t.Errorf("two groups without routes: %v", err)
	}
	two.Routes = []Route{{Group: "a", Paths: []string{"/a"}}}
	if w := strings.Join(two.Warnings(), "\n"); !strings.Contains(w, "group b: no route leads to it") {
		t.Errorf("warnings: %s", w)
	}
	f = open(t, two, Deps{})
	if a := ask(t, http.MethodGet, f.url+"/b", nil); a.status != 404 || problemName(t, a) != "not-found" {
		t.Errorf("no route: %d %s", a.status, a.body)
	}
}

func TestValidateRoutes(t *testing.T) {
	o := testOptions()
	grouped(t, &o, "a")
	o.Origins = origins("http://x")
	o.Groups["b c"] = Group{}
	o.Groups["d"] = Group{Settings: testOptions().Settings, Origins: []Origin{{Name: "x", URL: "http://x", Stream: "http://y", URLs: []string{"http://z"}}, {Name: "y"}}}
	o.Routes = []Route{
		{Group: "none"},
		{Group: "a", Kind: "both", Affinity: "sticky", Hosts: []string{"a:80", "*.", "a/b"}, Paths: []string{"x", "/a/../b", "/a?b", "/%41"}},
		{Group: "a", Affinity: "header:"},
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("bad routes were taken")
	}
	for _, want := range []string{
		"origins: set: must be empty where there are groups",
		`groups.b c: "b c": `,
		"groups.b c.origins: none: ",
		"groups.b c.probe.interval: 0s: ",
		`groups.d.origins[0].stream: "http://y": must be empty in a group`,
		"groups.d.origins[0].urls: set: must be empty where there is a url",
		"groups.d.origins[1].url: none: ",
		`routes[0].group: "none": must be the name of a group`,
		`routes[1].kind: "both": must be gateway, stream, plain or empty`,
		`routes[1].affinity: "sticky": must be key, cookie, header:NAME or none`,
		`routes[1].hosts[0]: "a:80": `, `routes[1].hosts[1]: "*.": `, `routes[1].hosts[2]: "a/b": `,
		`routes[1].paths[0]: "x": `, `routes[1].paths[1]: "/a/../b": `, `routes[1].paths[2]: "/a?b": `, `routes[1].paths[3]: "/%41": `,
		`routes[2].affinity: "header:": `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no problem %q in:\n%v", want, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	o := testOptions()
	grouped(t, &o, "a", "b")
	o.Probe.Path = "/other" // of the simple form, which is not used
	o.Limits.Rate = RateLimit{PerSecond: 10, Burst: 2, Clients: 5}
	o.AccessLog.Sample = 0.5
	o.Routes = []Route{{Group: "a", Paths: []string{"/a"}}, {Group: "b", Paths: []string{"/a"}}}
	g := o.Groups["a"]
	g.Origins = []Origin{{Name: "x", URL: "http://x", Weight: 10}, {Name: "y", URL: "http://y", Priority: 2, TLS: carry.TLS{ServerName: "y"}}}
	g.Carry.MaxBuffered = 10
	o.Groups["a"] = g
	all := strings.Join(o.Warnings(), "\n")
	for _, want := range []string{
		"settings of the simple form stand beside groups", "group a: origin x: weight: has no effect",
		"group a: origin y: tls: has no effect", "group a: max_repeat_body: ",
		"limits.rate.burst: below limits.rate.per_second", "routes[1]: gets no request",
		"access_log: sample and slow have no effect",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in:\n%s", want, all)
		}
	}
	good := testOptions(origins("http://127.0.0.1:1", "http://127.0.0.1:2")...)
	good.Settings = DefaultSettings()
	good.AccessLog = AccessLog{Enabled: true, Sample: 0.5, Slow: time.Second}
	if w := good.Warnings(); len(w) > 0 {
		t.Errorf("warnings of good options: %v", w)
	}
}
