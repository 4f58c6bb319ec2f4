package gateway

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/auth"
	"postroad/internal/message"
)

const (
	issuerSecret = "a-secret-of-the-issuer-0123456789-0123456789"
	nodeToken    = "token-of-the-stream-nodes-0123456789"
)

// guarded is a rig whose gateway asks for tokens.
type guarded struct {
	*rig
	signer *auth.Signer
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func newGuarded(t *testing.T, change func(*AuthOptions)) *guarded {
	t.Helper()
	o := defaultAuthOptions()
	o.Enabled = true
	secret := file(t, issuerSecret)
	o.Keys = []auth.KeyFile{{Kind: auth.KindHMAC, File: secret}}
	o.Nodes = []RelayStamp{{"stream", file(t, nodeToken)}}
	o.Policies = make([]auth.Policy, 2)
	for i, text := range []string{"van-* publish vehicles/van-* messages/van-*", "ops publish */* read */*"} {
		if err := o.Policies[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(&o)
	}
	signer, err := auth.NewSigner(auth.KindHMAC, secret)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(all *Options, d *Deps) {
		all.Auth = o
		if d.Callers, err = auth.NewVerifier(o.Options, auth.Deps{Log: quiet()}); err != nil {
			t.Fatal(err)
		}
	})
	return &guarded{r, signer}
}

// bearer is the header field of a caller.
func (g *guarded) bearer(name string, publish ...string) string {
	g.Helper()
	token, err := g.signer.Mint(auth.Grant{Name: name, Issued: time.Now(), TTL: time.Minute, Publish: publish}, auth.DefaultOptions().Claims)
	if err != nil {
		g.Fatal(err)
	}
	return "Authorization: Bearer " + token
}

func TestCallersNeedATokenAndPermission(t *testing.T) {
	g := newGuarded(t, nil)
	van := g.bearer("van-7")
	for _, row := range []struct {
		name, path, body string
		fields           []string
		status           int
		part             string
	}{
		{"no token", "/v1/topics/vehicles/messages?key=van-7", "x", nil, 401, "no token"},
		{"wrong token", "/v1/topics/vehicles/messages?key=van-7", "x", []string{"Authorization: Bearer x.y.z"}, 401, "not good"},
		{"two tokens", "/v1/topics/vehicles/messages?key=van-7", "x", []string{van, van}, 401, "2 times"},
		{"its own key", "/v1/topics/vehicles/messages?key=van-7", "x", []string{van}, 202, `"accepted":1`},
		{"key in the header", "/v1/topics/vehicles/messages", "x", []string{van, "Postroad-Key: van-7"}, 202, ""},
		{"another key", "/v1/topics/vehicles/messages?key=bus-7", "x", []string{van}, 403, "bus-7"},
		{"a key that is a star", "/v1/topics/vehicles/messages?key=*", "x", []string{van}, 403, ""},
		{"no key", "/v1/topics/vehicles/messages", "x", []string{van}, 403, ""},
		{"another topic", "/v1/topics/alarms/messages?key=van-7", "x", []string{van}, 403, "alarms"},
		{"narrowed by the token", "/v1/topics/vehicles/messages?key=van-7", "x", []string{g.bearer("van-7", "vehicles/van-8")}, 403, ""},
		{"not widened by the token", "/v1/topics/alarms/messages?key=a", "x", []string{g.bearer("van-7", "*/*")}, 403, ""},
		{"no policy", "/v1/topics/vehicles/messages?key=van-7", "x", []string{g.bearer("stranger")}, 403, ""},
		{"all keys", "/v1/topics/alarms/messages", "x", []string{g.bearer("ops")}, 202, ""},
		{"classic", "/ServiceAPI/message", `{"senderId":"van-7","value":"v"}`, []string{van}, 200, ""},
		{"classic for another", "/ServiceAPI/message", `{"senderId":"bus-7","value":"v"}`, []string{van}, 403, "bus-7"},
		{"classic without", "/serviceapi/MESSAGE", `{"senderId":"van-7","value":"v"}`, nil, 401, ""},
		{"event", "/v1/topics/vehicles/messages", "x", []string{van, "Ce-Id: 1", "Ce-Source: /s", "Ce-Type: t", "Ce-Specversion: 1.0", "Ce-Partitionkey: van-7"}, 202, ""},
		{"event of another key", "/v1/topics/vehicles/messages?key=van-7", "x", []string{van, "Ce-Id: 1", "Ce-Source: /s", "Ce-Type: t", "Ce-Specversion: 1.0", "Ce-Partitionkey: bus-7"}, 403, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(g.store.all())
			a := g.post(row.path, row.body, row.fields...)
			g.want(a, row.status, row.part)
			stored := g.store.all()[before:]
			if (row.status < 300) != (len(stored) == 1) {
				t.Fatalf("%d messages are stored", len(stored))
			}
			if challenge := a.header.Get("WWW-Authenticate"); (row.status == 401) != strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if a.header.Get("Idempotency-Key") == "" {
				t.Error("no Idempotency-Key")
			}
		})
	}
	for _, m := range g.store.all() {
		if want := map[string]string{"vehicles": "van-7", "messages": "van-7", "alarms": "ops"}[m.Topic]; m.Principal != want {
			t.Errorf("%s: principal %q, want %q", m.Topic, m.Principal, want)
		}
	}
}

// One message of a batch that its sender may not send, wherever it stands, and
// nothing of the batch is stored.
func TestBatchesAreDeniedWhole(t *testing.T) {
	g := newGuarded(t, nil)
	van := g.bearer("van-7")
	lines := `{"key":"van-7","value":1}` + "\n" + `{"key":"van-70","value":2}` + "\n\n" + `{"key":"bus-1","value":3}`
	g.want(g.post("/v1/topics/vehicles/messages", lines, van, "Content-Type: application/x-ndjson"), 403, `"line":4`, "bus-1")
	g.want(g.post("/v1/topics/vehicles/messages", `{"key":"bus-1","value":3}`+"\n"+`{"key":"van-7","value":1}`, van, "Content-Type: application/x-ndjson"), 403, `"line":1`)
	g.want(g.post("/v1/topics/vehicles/messages", `{"key":"van-7","value":3}`+"\n"+`{"value":1}`, van, "Content-Type: application/x-ndjson"), 403, `"line":2`)
	event := func(key string) string {
		return `{"specversion":"1.0","id":"` + key + `","source":"/s","type":"t","partitionkey":"` + key + `"}`
	}
	g.want(g.post("/v1/topics/vehicles/messages", "["+event("van-1")+","+event("x")+"]", van, "Content-Type: application/cloudevents-batch+json"), 403, `"event":2`)
	if n := len(g.store.all()); n != 0 {
		t.Fatalf("%d messages are stored", n)
	}
	g.want(g.post("/v1/topics/vehicles/messages", strings.TrimSuffix(lines, `{"key":"bus-1","value":3}`), van, "Content-Type: application/x-ndjson"), 202, `"accepted":2`)
}

func TestAnonymousCallers(t *testing.T) {
	g := newGuarded(t, func(o *AuthOptions) {
		open, err := auth.ParsePattern("chat/*")
		if err != nil {
			t.Fatal(err)
		}
		o.Anonymous = auth.AnonymousOptions{Enabled: true, Publish: []auth.Pattern{open}}
	})
	g.want(g.post("/v1/topics/chat/messages?key=a", "x"), 202)
	g.want(g.post("/v1/topics/vehicles/messages?key=van-1", "x"), 403)
	g.want(g.post("/v1/topics/chat/messages?key=a", "x", "Authorization: Bearer x"), 401) // a bad token is no anonymous caller's
	if m := g.one(); m.Principal != "anonymous" {
		t.Errorf("principal %q", m.Principal)
	}
}

// What can be asked of stored messages needs a valid principal, health does not.
func TestReadingNeedsAPrincipal(t *testing.T) {
	g := newGuarded(t, nil)
	van := g.bearer("van-7")
	g.want(g.post("/v1/topics/vehicles/messages?key=van-7", "x", van), 202)
	m := g.one()
	receipt := message.Receipt{ID: m.ID, Place: m.Place}.String()
	a := g.do(http.MethodGet, "/v1/messages/"+receipt, "")
	g.want(a, 401)
	if a.header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	g.want(g.do(http.MethodGet, "/v1/messages/"+receipt, "", g.bearer("stranger")), 200, "queued")
	g.want(g.do(http.MethodGet, "/v1/messages/"+m.ID.String()+"?scan=true", ""), 401)
	for _, path := range []string{"/healthz", "/default", "/openapi.json", "/docs", "/ServiceAPI/health"} {
		g.want(g.do(http.MethodGet, path, ""), 200)
	}
}

// A stream node sends for its clients: under their names, and as far as they may
// themselves.
func TestNodesSendForTheirClients(t *testing.T) {
	g := newGuarded(t, nil)
	node := "Authorization: Bearer " + nodeToken
	for _, row := range []struct {
		name   string
		fields []string
		status int
	}{
		{"a client", []string{node, "Postroad-Principal: van-7"}, 202},
		{"a client who may not", []string{node, "Postroad-Principal: stranger"}, 403},
		{"nobody", []string{node}, 400},
		{"two", []string{node, "Postroad-Principal: van-7", "Postroad-Principal: ops"}, 400},
		{"no name", []string{node, "Postroad-Principal: %zz"}, 400},
		{"a control character", []string{node, "Postroad-Principal: a%0Ab"}, 400},
		{"anonymous, who is not let in", []string{node, "Postroad-Principal: anonymous"}, 403},
		{"without the node's token", []string{"Postroad-Principal: ops"}, 401},
		{"with a client's own", []string{g.bearer("van-7"), "Postroad-Principal: ops"}, 401},
		{"with a client's own, for itself", []string{g.bearer("van-7"), "Postroad-Principal: van-7"}, 401},
		{"with a wrong token", []string{"Authorization: Bearer " + nodeToken + "x", "Postroad-Principal: van-7"}, 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			g.want(g.post("/v1/topics/vehicles/messages?key=van-7", "x", row.fields...), row.status)
		})
	}
	if m := g.one(); m.Principal != "van-7" {
		t.Errorf("principal %q", m.Principal)
	}
}

// Where no tokens are asked for, a node's word counts all the same, and nobody
// else's; and the same request has the same id by whatever way it comes.
func TestNodesWithoutTokensOfOthers(t *testing.T) {
	plain := newRig(t, func(o *Options, _ *Deps) { o.Auth.Nodes = []RelayStamp{{"stream", file(t, nodeToken)}} })
	node, key := "Authorization: Bearer "+nodeToken, `Idempotency-Key: "k"`
	const path = "/v1/topics/vehicles/messages?key=van-7"
	plain.want(plain.post(path, "x", node, key, "Postroad-Principal: van%2D7"), 202)
	plain.want(plain.post(path, "x", "Postroad-Principal: van-7"), 401)
	plain.want(plain.post(path, "x", "Authorization: Bearer whatever"), 202) // nobody asked
	plain.want(plain.post(path, "x", node, "Postroad-Principal: anonymous"), 202)
	all := plain.store.all()
	if len(all) != 3 || all[0].Principal != "van-7" || all[1].Principal != "anonymous" || all[2].Principal != "anonymous" {
		t.Fatalf("%+v", all)
	}
	g := newGuarded(t, nil)
	g.want(g.post(path, "x", g.bearer("van-7"), key), 202)
	if g.one().ID != all[0].ID {
		t.Error("the same request of the same principal has another id at another stamp")
	}
	g.want(g.post(path, "x", node, key, "Postroad-Principal: van-7"), 202)
	if n := len(g.store.all()); n != 1 {
		t.Errorf("the same request through a node is stored again: %d", n)
	}
	g.want(g.post(path, "x", g.bearer("ops"), key), 202)
	if n := len(g.store.all()); n != 2 {
		t.Errorf("a key of another principal is taken for its own: %d", n)
	}
}

// The token of a relaying stamp is for relaying: it opens nothing else, and goes
// on working where tokens are asked for.
func TestRelayTokensStayApart(t *testing.T) {
	secret := file(t, "token-of-the-site-0123456789")
	g := newGuarded(t, nil)
	r := newRig(t, func(o *Options, d *Deps) {
		o.Auth, o.Relay.Stamps = g.gateway.opts.Auth, []RelayStamp{{"site", secret}}
		d.Callers, d.Relay = g.gateway.deps.Callers, noRelayStore{}
	})
	site := "Authorization: Bearer token-of-the-site-0123456789"
	r.want(r.do(http.MethodGet, "/v1/relay", "", site), 200, `"process"`)
	r.want(r.do(http.MethodGet, "/v1/relay", "", "Authorization: Bearer "+nodeToken), 401)
	r.want(r.post("/v1/topics/vehicles/messages?key=van-7", "x", site), 401)
	r.want(r.post("/v1/topics/vehicles/messages?key=van-7", "x", site, "Postroad-Principal: van-7"), 401)
}

type noRelayStore struct{ RelayStore }

// Until the keys can be had nobody is told that a token is bad.
func TestKeysThatCannotBeHad(t *testing.T) {
	g := newGuarded(t, func(o *AuthOptions) {
		o.Keys, o.Nodes = []auth.KeyFile{{Kind: auth.KindHMAC, File: filepath.Join(t.TempDir(), "none")}}, nil
	})
	a := g.post("/v1/topics/vehicles/messages?key=van-7", "x", g.bearer("van-7"))
	g.want(a, 503, "cannot be checked now")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g = newGuarded(t, func(o *AuthOptions) { o.Nodes = []RelayStamp{{"stream", filepath.Join(t.TempDir(), "none")}} })
	g.want(g.post("/v1/topics/vehicles/messages?key=van-7", "x", "Authorization: Bearer "+nodeToken, "Postroad-Principal: van-7"), 503)
	g.want(g.post("/v1/topics/vehicles/messages?key=van-7", "x", g.bearer("van-7")), 202)
	g.want(g.post("/v1/topics/vehicles/messages?key=van-7", "x"), 401)
}

func TestAuthOptionsAreChecked(t *testing.T) {
	o := DefaultOptions()
	o.Auth.Enabled = true
	o.Auth.Leeway = time.Hour
	o.Auth.Nodes = []RelayStamp{{"A", "f"}, {"b", "f"}, {"b", "g"}}
	err := o.Validate()
	for _, part := range []string{"auth.enabled: true: lets nobody in", "auth.leeway: 1h0m0s: ", "auth.nodes[0]: A: ", "auth.nodes[2]: b: is there twice"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	o = DefaultOptions()
	o.Auth.Enabled, o.Auth.Anonymous.Enabled = true, true
	d := Deps{Store: newStore(), Tracker: &fakeTracker{}, Log: slog.New(slog.DiscardHandler), Identity: Identity{Stamp: "a"}}
	if _, err := New(o, d); err == nil || !strings.Contains(err.Error(), "Deps.Callers") {
		t.Errorf("a gateway that cannot tell its callers: %v", err)
	}
}
