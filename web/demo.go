package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

//go:embed demo sdk/centrifuge.js sdk/centrifuge.license.txt
var files embed.FS

// Demo returns what serves /demo/: the page and each file of it by its name.
// Browsers keep them but ask each time whether they changed.
func Demo() (http.Handler, error) {
	mux := http.NewServeMux()
	for _, dir := range []string{"demo", "sdk"} {
		names, err := fs.ReadDir(files, dir)
		if err != nil {
			return nil, fmt.Errorf("read the page: %w", err)
		}
		for _, n := range names {
			content, err := files.ReadFile(path.Join(dir, n.Name()))
			if err != nil {
				return nil, fmt.Errorf("read the page: %w", err)
			}
			pattern := "GET /demo/" + n.Name()
			if n.Name() == "index.html" {
				pattern = "GET /demo/{$}"
			}
			mux.Handle(pattern, asset(n.Name(), content))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), r)
		mux.ServeHTTP(w, r)
	}), nil
}

func asset(name string, content []byte) http.Handler {
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".json": "application/json", ".txt": "text/plain; charset=utf-8",
	}
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", types[path.Ext(name)])
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	})
}

// secure sets what protects the page, on every answer: nothing from elsewhere, no
// inline script or style, no framing, and no text ever taken for script. It may
// connect to the host that it came from, on any port, for other nodes there.
func secure(h http.Header, r *http.Request) {
	connect := "connect-src 'self'"
	if host := hostOf(r); host != "" {
		connect += " ws://" + host + ":* wss://" + host + ":*"
	}
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", connect,
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"require-trusted-types-for 'script'", "trusted-types 'none'",
	}, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// plainHost is a name or an IPv4 address; what a policy cannot name is left out.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// hostOf is the host that the browser asked, here or at the door; "" where it has
// no plain name.
func hostOf(r *http.Request) string {
	host := r.Host
	if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" {
		host = forwarded
	}
	host, _, _ = strings.Cut(host, ":")
	if len(host) > 253 || !plainHost.MatchString(host) {
		return ""
	}
	return host
}
