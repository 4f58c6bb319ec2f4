package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// mountPage serves each file of the page by its name, and the page itself at
// the root. The browser keeps them but asks each time whether they changed.
func (c *Console) mountPage() error {
	names, err := fs.ReadDir(page, "page")
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	for _, n := range names {
		content, err := page.ReadFile("page/" + n.Name())
		if err != nil {
			return fmt.Errorf("read the page: %w", err)
		}
		pattern := "GET /console/" + n.Name()
		if n.Name() == "index.html" {
			pattern = "GET /console/{$}"
		}
		c.mux.Handle(pattern, asset(n.Name(), content))
	}
	return nil
}

func asset(name string, content []byte) http.Handler {
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
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
