package gateway

import (
	"embed"
	"net/http"
	"path"
	"strings"
)

//go:generate go test . -count=1 -run Current$ -update

// web holds the description of the interface and the page that shows it.
// openapi.json is made from openapi.yaml by the package's tests.
//
//go:embed web/openapi.json web/docs.html web/docs.css web/docs.js
var web embed.FS

// docsPolicy lets the page load its own files and call its own server, and
// nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// getOpenAPI is GET /openapi.json.
func (g *Gateway) getOpenAPI(w http.ResponseWriter, _ *http.Request) (int, error) {
	return g.writeFile(w, "openapi.json", "application/json")
}

// getDocs is GET /docs: a page that shows /openapi.json and tries it out.
func (g *Gateway) getDocs(w http.ResponseWriter, r *http.Request) (int, error) {
	h := w.Header()
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	switch name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/docs"), "/"); name {
	case "":
		return g.writeFile(w, "docs.html", "text/html; charset=utf-8")
	case "docs.css":
		return g.writeFile(w, name, "text/css; charset=utf-8")
	case "docs.js":
		return g.writeFile(w, name, "text/javascript; charset=utf-8")
	}
	return 0, notFoundPath(r.URL.Path)
}

func (g *Gateway) writeFile(w http.ResponseWriter, name, contentType string) (int, error) {
	b, err := web.ReadFile(path.Join("web", name))
	if err != nil {
		return 0, err
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	w.Write(b) // a reader that went away misses nothing
	return http.StatusOK, nil
}
