package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"postroad/internal/message"
)

// instantStore keeps nothing and is done at once.
type instantStore struct{}

func (instantStore) Append(context.Context, []message.Message) (message.Place, error) {
	return message.Place{Lane: testLane, Seq: 1}, nil
}

// sink is an http.ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkHandler measures the gateway alone: no network, an instant store.
func BenchmarkHandler(b *testing.B) {
	lines := strings.Repeat(fmt.Sprintf(`{"key":"k","value":%q}`+"\n", strings.Repeat("x", 256)), 1000)
	for _, c := range []struct{ name, path, contentType, key, body string }{
		{"plain", "/v1/topics/t/messages", "application/octet-stream", "", strings.Repeat("x", 256)},
		{"keyed", "/v1/topics/t/messages?key=k", "application/json", "fresh", `{"a":"` + strings.Repeat("x", 248) + `"}`},
		{"classic", "/ServiceAPI/message", "application/json", "", `{"senderId":"s","value":"` + strings.Repeat("x", 230) + `"}`},
		{"ndjson1000", "/v1/topics/t/messages", typeNDJSON, "", lines},
	} {
		b.Run(c.name, func(b *testing.B) {
			g, err := New(DefaultOptions(), Deps{Store: instantStore{}, Tracker: &fakeTracker{}, Log: quiet(), Identity: Identity{Stamp: "onprem"}})
			if err != nil {
				b.Fatal(err)
			}
			h := g.Handler()
			body := bytes.NewReader([]byte(c.body))
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://h"+c.path, io.NopCloser(body))
			if err != nil {
				b.Fatal(err)
			}
			req.ContentLength = int64(len(c.body))
			req.Header.Set("Content-Type", c.contentType)
			w := &sink{header: make(http.Header)}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for i := 0; b.Loop(); i++ {
				body.Reset([]byte(c.body))
				req.Body = io.NopCloser(body)
				if c.key != "" {
					req.Header["Idempotency-Key"] = []string{fmt.Sprintf("%s-%d", c.key, i)}
				}
				h.ServeHTTP(w, req)
				if w.status >= 300 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
