package sdk

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// token lets a client in, and subscribes it to subjects by that.
func (w *world) token(name string, subjects ...string) string {
	w.t.Helper()
	claims := jwt.MapClaims{"sub": name, "exp": time.Now().Add(time.Hour).Unix(), "channels": subjects}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(read(w.t, w.secret))
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// What a token names is subscribed to at connect; SDKs hold such subscriptions
// apart from their own. They come back to their place like those.
func TestSDKsTokenSubscribes(t *testing.T) {
	w := newWorld(t, "")
	r := &recovery{world: w, sent: make(map[string][]string), next: make(map[string]int)}
	subject := topic + "/" + busy
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) { // which is skipped alone
			c := l.ready(t)
			for _, protocol := range l.protocols {
				name := l.name + "-" + protocol
				r.clients = append(r.clients, c.start(w.t, name, protocol, w.balancer.Addr(), w.token(name, subject)))
			}
		})
	}
	if len(r.clients) == 0 || t.Failed() {
		t.Fatal("there is no client")
	}
	r.send(busy, 1) // the topic is there
	r.drain("east")
	r.startNode()
	for _, p := range r.clients {
		p.wait("it is subscribed by its token", of("subscribed", subject))
	}
	early := r.send(busy, 50)
	for _, p := range r.clients {
		r.receivedAll(p, subject)
	}
	r.killNode()
	r.again(early)
	r.send(busy, 600)
	r.drain("east")
	r.startNode()
	r.send(busy, 10)
	for _, p := range r.clients {
		r.receivedAll(p, subject)
		again := p.all(func(e event) bool { return of("subscribed", subject)(e) && e.WasRecovering })
		if len(again) == 0 || !again[len(again)-1].Recovered {
			t.Errorf("%s: it did not come back to its place: %+v", p.name, again)
		}
	}
}

// receivedAll waits until a client has the last message, and compares. The first
// was there before the client, which was given it as the last value or not at all.
func (r *recovery) receivedAll(p *client, subject string) {
	r.t.Helper()
	sent := r.sent[busy]
	p.got(subject, sent[len(sent)-1])
	var received []string
	for _, e := range p.all(of("publication", subject)) {
		value, err := p.value(e)
		if err != nil {
			r.t.Fatalf("%s: %+v: %v", p.name, e, err)
		}
		received = append(received, value)
	}
	if len(received) > 0 && received[0] == sent[0] {
		received = received[1:]
	}
	for _, problem := range compare(busy, received, sent[1:]) {
		r.t.Errorf("%s: %s", p.name, problem)
	}
}
