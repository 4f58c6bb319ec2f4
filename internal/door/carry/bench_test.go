package carry

import (
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// BenchmarkCarry compares a POST of 256 bytes through a carrier with the same
// through the transport that httputil.ReverseProxy takes by default, in the same
// run and to the same origin.
func BenchmarkCarry(b *testing.B) {
	origin := newStamp(b, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"accepted":1,"ids":["x"]}`)
	}))
	other := newStamp(b, "b", nil)
	plain := http.DefaultTransport.(*http.Transport).Clone()
	plain.MaxIdleConnsPerHost = 256
	b.Cleanup(plain.CloseIdleConnections)
	u, err := url.Parse(origin.URL)
	if err != nil {
		b.Fatal(err)
	}
	r := newRig(b, rigging{policy: hedging()}, origin.URL, other.URL)
	b.Run("default", func(b *testing.B) { posts(b, toward{plain, u}) })
	b.Run("carry", func(b *testing.B) { posts(b, r) })
	b.Run("proxy/default", func(b *testing.B) { proxied(b, toward{plain, u}) })
	b.Run("proxy/carry", func(b *testing.B) { proxied(b, r) })
}

// toward sends requests to one address.
type toward struct {
	http.RoundTripper
	url *url.URL
}

// RoundTrip implements http.RoundTripper.
func (t toward) RoundTrip(req *http.Request) (*http.Response, error) {
	u := *req.URL
	u.Scheme, u.Host = t.url.Scheme, t.url.Host
	out := req.WithContext(req.Context())
	out.URL = &u
	return t.RoundTripper.RoundTrip(out)
}

func posts(b *testing.B, over http.RoundTripper) {
	body := strings.Repeat("x", 256)
	b.ReportAllocs()
	before := cpu(b)
	defer func() { b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") }()
	for b.Loop() {
		req := request(b.Context(), Gateway, http.MethodPost, topic, strings.NewReader(body), KeyHeader, "k")
		res, err := over.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// proxied is the same behind a listener.
func proxied(b *testing.B, over http.RoundTripper) {
	proxy := &httputil.ReverseProxy{
		Transport: over,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out = pr.Out.WithContext(With(pr.Out.Context(), Call{Kind: Gateway}))
			pr.SetXForwarded()
		},
	}
	front := newStamp(b, "front", proxy)
	client := &http.Transport{}
	b.Cleanup(client.CloseIdleConnections)
	u, err := url.Parse(front.URL)
	if err != nil {
		b.Fatal(err)
	}
	posts(b, toward{client, u})
}

// cpu is the processor time of this process, client and origin included, which
// says more than elapsed time on a machine with other work.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return syscall.TimevalToNsec(u.Utime) + syscall.TimevalToNsec(u.Stime)
}
