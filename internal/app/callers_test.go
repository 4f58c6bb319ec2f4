package app_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"postroad/internal/app"
	"postroad/internal/auth"
	"postroad/internal/gateway"
	"postroad/internal/stream/live"
)

// lockedSite is a stamp that asks its callers for tokens, and a stream node that
// publishes to it.
type lockedSite struct {
	gateway string
	node    streamNode
	signer  *auth.Signer
}

func policy(t *testing.T, text string) []auth.Policy {
	t.Helper()
	var p auth.Policy
	if err := p.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return []auth.Policy{p}
}

func startLockedSite(t *testing.T) lockedSite {
	t.Helper()
	dir := t.TempDir()
	secret, token := filepath.Join(dir, "secret"), filepath.Join(dir, "token")
	if err := errors.Join(os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600), os.WriteFile(token, []byte(strings.Repeat("n", 40)), 0o600)); err != nil {
		t.Fatal(err)
	}
	hub, stopHub := startTestHub(t)
	t.Cleanup(stopHub)
	s := halfSettings(t.TempDir(), hub)
	s.Gateway.Auth.Enabled = true
	s.Gateway.Auth.Keys = []auth.KeyFile{{Kind: auth.KindHMAC, File: secret}}
	s.Gateway.Auth.Nodes = []gateway.RelayStamp{{Name: "stream", File: token}}
	s.Gateway.Auth.Policies = policy(t, "driver-* publish messages/*")
	stamp := startHalf(t, app.RunStamp, s)
	t.Cleanup(func() {
		if err := stamp.stop(); err != nil {
			t.Error(err)
		}
	})
	n := streamSettings(t, "n1", hub)
	n.Stream.Live.Topics = []live.TopicOptions{{Name: "messages"}, {Name: "alarms"}}
	n.Auth.Anonymous = auth.AnonymousOptions{}
	n.Auth.Keys = s.Gateway.Auth.Keys
	// It lets more through than the gateway does.
	n.Auth.Policies = policy(t, "driver-* read messages/* publish messages/* alarms/*")
	n.Stream.Publish.Gateways, n.Stream.Publish.TokenFile = []string{stamp.Gateways["onprem"]}, token
	signer, err := auth.NewSigner(auth.KindHMAC, secret)
	if err != nil {
		t.Fatal(err)
	}
	return lockedSite{stamp.Gateways["onprem"], startStream(t, n), signer}
}

func (l lockedSite) token(t *testing.T, name string) string {
	t.Helper()
	text, err := l.signer.Mint(auth.Grant{Name: name, Issued: time.Now(), TTL: time.Hour}, auth.DefaultOptions().Claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCallersThroughEverything: what a caller may do is the same by whatever way
// it comes: to the gateway itself, or through a stream node.
func TestCallersThroughEverything(t *testing.T) {
	l := startLockedSite(t)
	for _, row := range []struct {
		name, topic string
		status      int
	}{{"", "messages", 401}, {"driver-7", "messages", 202}, {"driver-7", "alarms", 403}, {"stranger", "messages", 403}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.gateway+"/v1/topics/"+row.topic+"/messages?key=bus-7", strings.NewReader("direct"))
		if err != nil {
			t.Fatal(err)
		}
		if row.name != "" {
			req.Header.Set("Authorization", "Bearer "+l.token(t, row.name))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != row.status {
			t.Errorf("%q to %s: %d, want %d", row.name, row.topic, resp.StatusCode, row.status)
		}
	}
	c := centrifuge.NewJsonClient("ws"+strings.TrimPrefix(l.node.url, "http")+"/connection/websocket", centrifuge.Config{Token: l.token(t, "driver-7")})
	t.Cleanup(c.Close)
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	var got seen
	sub, err := c.NewSubscription("messages/room")
	if err != nil {
		t.Fatal(err)
	}
	sub.OnPublication(func(e centrifuge.PublicationEvent) { got.add(string(e.Data)) })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	for subject, code := range map[string]uint32{"messages/room": 0, "alarms/room": 103, "vehicles/room": 103, "messages/*": 107} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := c.Publish(ctx, subject, []byte(`{"through":"the node"}`))
		cancel()
		var refused *centrifuge.Error
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &refused) || refused.Code != code) {
			t.Errorf("publish to %s: %v, want code %d", subject, err, code)
		}
	}
	await(t, "the message", func() bool { return len(got.all()) > 0 })
	if all := got.all(); len(all) != 1 || all[0] != `{"through":"the node"}` {
		t.Errorf("%q", all)
	}
}

// TestCallersOptionsAreChecked: keys that cannot be are found before anything
// listens.
func TestCallersOptionsAreChecked(t *testing.T) {
	s := halfSettings(t.TempDir(), "127.0.0.1:1")
	s.Gateway.Auth.Enabled = true
	s.Gateway.Auth.JWKS.URL = "http://idp.example/keys"
	if err := app.RunGateway(t.Context(), s, app.Deps{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "jwks.url") {
		t.Errorf("%v", err)
	}
}
