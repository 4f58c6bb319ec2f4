package door

import (
	"net/http"
	"testing"
)

// What stream nodes serve goes to them, and all else to the gateways, each by the
// health of its own.
func TestStreamsGoToStreamNodes(t *testing.T) {
	gateway, spare := newStamp(t, "gateway", nil), newStamp(t, "spare gateway", nil)
	node, second := newStamp(t, "node", nil), newStamp(t, "second node", nil)
	list := origins(gateway.URL, spare.URL)
	list[0].Stream, list[1].Stream = node.URL, second.URL
	f := open(t, testOptions(list...), Deps{})
	for path, want := range map[string]string{
		"/v1/topics/cars/stream?key=a": "node", "/v1/topics/cars/last?key=a": "node", "/v1/topics/cars/history": "node",
		"/connection/websocket": "node", "/demo/": "node", "/demo/app.js": "node",
		"/v1/topics/cars/messages": "gateway", "/v1/topics/stream": "gateway", "/v1/messages/x": "gateway", "/": "gateway", "/demonstration": "gateway",
	} {
		a := ask(t, http.MethodGet, f.url+path, nil)
		if got := a.header.Get("Stamp"); got != want {
			t.Errorf("%s went to %q, want %q", path, got, want)
		}
	}
	node.sick.Store(true)
	f.probing(t)
	eventually(t, "the sick node to be left", func() bool { return !f.origin(streamsGroup, "a").Healthy })
	if a := ask(t, http.MethodGet, f.url+"/v1/topics/cars/stream", nil); a.header.Get("Stamp") != "second node" || a.header.Get(OriginHeader) != "b" {
		t.Errorf("with the first node sick: %v", a.header)
	}
	if a := ask(t, http.MethodGet, f.url+"/v1/topics/cars/messages", nil); a.header.Get("Stamp") != "gateway" {
		t.Errorf("the gateway beside the sick node was left: %v", a.header)
	}
}

// Without stream nodes nothing changes: the gateway says what it does not have.
func TestWithoutStreamNodes(t *testing.T) {
	gateway := newStamp(t, "gateway", nil)
	f := open(t, testOptions(origins(gateway.URL)...), Deps{})
	if a := ask(t, http.MethodGet, f.url+"/v1/topics/cars/stream", nil); a.header.Get("Stamp") != "gateway" || len(f.Status().Groups) != 1 {
		t.Errorf("went to %v", a.header)
	}
	bad := testOptions(origins(gateway.URL)...)
	bad.Origins[0].Stream = "ftp://x"
	if err := bad.Validate(); err == nil || err.Error() != `origins[0].stream: "ftp://x": must be http://host:port or https://host:port, without a path` {
		t.Errorf("a stream address that is none: %v", err)
	}
}
