package web_test

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"postroad/web"
)

func ask(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	page, err := web.Demo()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return text
}

// named are the files that the page names, in its markup and its modules.
func named(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?:href|src)="([a-z.]+)"`).FindAllStringSubmatch(body(t, ask(t, "GET", "/demo/")), -1) {
		names[m[1]] = true
	}
	for left := []string{"demo.js"}; len(left) > 0; {
		js := body(t, ask(t, "GET", "/demo/"+left[0]))
		if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`).MatchString(js) {
			t.Errorf("%s makes markup of text", left[0])
		}
		left = left[1:]
		for _, m := range regexp.MustCompile(`from "\./([a-z.]+)"|fetch\("([a-z.]+)"\)`).FindAllStringSubmatch(js, -1) {
			name := m[1] + m[2]
			if !names[name] && path.Ext(name) == ".js" {
				left = append(left, name)
			}
			names[name] = true
		}
	}
	return names
}

// TestPage: the page and everything that it names are there, under the policy, and
// only sent again when they changed.
func TestPage(t *testing.T) {
	names := named(t)
	for _, name := range []string{"centrifuge.js", "centrifuge.license.txt", "demo.css", "fleet.js", "map.js", "stream.js", "town.json", "mark.svg"} {
		if !names[name] {
			t.Errorf("the page does not name %s", name)
		}
	}
	types := map[string]string{
		"": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".json": "application/json", ".txt": "text/plain; charset=utf-8",
	}
	names[""] = true
	for name := range names {
		res := ask(t, "GET", "/demo/"+name)
		h := res.Header
		if res.StatusCode != http.StatusOK || h.Get("Content-Type") != types[path.Ext(name)] || len(body(t, res)) == 0 {
			t.Errorf("%q: %d %s", name, res.StatusCode, h.Get("Content-Type"))
		}
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%q: policy %q", name, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-cache" {
			t.Errorf("%q: header %v", name, h)
		}
		if again := ask(t, "GET", "/demo/"+name, "If-None-Match", h.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%q asked for again: %d", name, again.StatusCode)
		}
		if head := ask(t, "HEAD", "/demo/"+name); head.StatusCode != http.StatusOK || head.Header.Get("ETag") != h.Get("ETag") {
			t.Errorf("%q: HEAD %d", name, head.StatusCode)
		}
	}
	for _, p := range []string{"/demo/nothing.js", "/demo/index.html", "/demo/sdk/centrifuge.js", "/demo/package.json", "/demo/demo/", "/other"} {
		if res := ask(t, "GET", p); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", p, res.StatusCode)
		}
	}
	if res := ask(t, "POST", "/demo/"); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

// TestPolicyNamesTheHostOnly: the page may connect to other ports of its host, and
// nothing that a client sends gets anything else into the policy.
func TestPolicyNamesTheHostOnly(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1:8800":         "connect-src 'self' ws://127.0.0.1:* wss://127.0.0.1:*;",
		"postroad.example":       "connect-src 'self' ws://postroad.example:* wss://postroad.example:*;",
		"[::1]:8800":             "connect-src 'self';",
		"x; script-src *":        "connect-src 'self';",
		"* ws:":                  "connect-src 'self';",
		"*":                      "connect-src 'self';",
		"a\r\nSet-Cookie: b":     "connect-src 'self';",
		"-":                      "connect-src 'self';",
		strings.Repeat("a", 300): "connect-src 'self';",
	} {
		res := ask(t, "GET", "http://inside:8800/demo/", "X-Forwarded-Host", host)
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, want) {
			t.Errorf("host %q: %s", host, csp)
		}
	}
	if csp := ask(t, "GET", "http://node:8800/demo/").Header.Get("Content-Security-Policy"); !strings.Contains(csp, "ws://node:*") {
		t.Errorf("without a door: %s", csp)
	}
}
