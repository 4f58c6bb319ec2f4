package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// doorman makes a cluster judge PLAIN itself: kfake ends the connection over a
// wrong password, and a real hub says so.
type doorman struct {
	mu       sync.Mutex
	password string // guarded by mu
	refused  int    // guarded by mu
}

func (d *doorman) takes(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password = password
}

func (d *doorman) refusals() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

func (d *doorman) stand(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		d.mu.Lock()
		defer d.mu.Unlock()
		req := r.(*kmsg.SASLAuthenticateRequest)
		parts := bytes.Split(req.SASLAuthBytes, []byte{0})
		if len(parts) == 3 && string(parts[2]) == d.password {
			// For kfake the password is always the same.
			req.SASLAuthBytes = []byte("\x00ada\x00kfake")
			return nil, nil, false
		}
		d.refused++
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr("Authentication failed")
		return resp, nil, true
	})
}

func startGuarded(t testing.TB, password string) (*doorman, string) {
	t.Helper()
	c, addr := startCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", "kfake"))
	d := &doorman{password: password}
	d.stand(c)
	return d, addr
}

// mounted is a directory as a cluster mounts a secret: the files are links into
// a directory that a link leads to, and that link is replaced.
type mounted struct {
	t    testing.TB
	dir  string
	next int
}

func mount(t testing.TB, name, text string) (*mounted, string) {
	t.Helper()
	m := &mounted{t: t, dir: t.TempDir()}
	m.put(name, text)
	if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
		t.Fatal(err)
	}
	return m, filepath.Join(m.dir, name)
}

func (m *mounted) put(name, text string) {
	m.t.Helper()
	m.next++
	version := filepath.Join(m.dir, "..v"+string(rune('0'+m.next)))
	err := os.Mkdir(version, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(version, name), []byte(text), 0o600)
	}
	if err == nil {
		err = os.Symlink(filepath.Base(version), filepath.Join(m.dir, "..new"))
	}
	if err == nil {
		err = os.Rename(filepath.Join(m.dir, "..new"), filepath.Join(m.dir, "..data"))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func plainOptions(addr, passwordFile string) Options {
	o := options(addr)
	o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: "ada", PasswordFile: passwordFile}
	return o
}

// eventually waits until ok, or fails.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A wrong password is a hold of the whole hub that says so; the file mended, the
// same Sink goes on. Its secret is nowhere in error or log.
func TestWrongPassword(t *testing.T) {
	_, addr := startGuarded(t, "right-word")
	m, file := mount(t, "password", "wrong-word")
	log := &lockedBuffer{}
	s, err := NewSink(plainOptions(addr, file), Deps{Stamp: "here", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Probe(t.Context())
	if !held(err) || !errors.Is(err, kerr.SaslAuthenticationFailed) || !strings.Contains(err.Error(), "Authentication failed") {
		t.Fatalf("probe: %v", err)
	}
	waits := make(chan error, 1) // it is not failed: a probe says what is wrong
	one := stored(1)
	if err := s.Produce(&one, 0, s.Turn(), func(_ int64, err error) { waits <- err }); err != nil {
		t.Fatal(err)
	}
	m.put("password", "right-word")
	if err := s.Probe(t.Context()); err != nil {
		t.Fatalf("with the right password: %v", err)
	}
	if err := next(t, waits); err != nil {
		t.Fatalf("produce: %v", err)
	}
	if text := log.String() + err.Error(); strings.Contains(text, "-word") {
		t.Errorf("the password is shown: %s", text)
	}
	if !strings.Contains(log.String(), "files of the hub's settings changed") {
		t.Errorf("the log does not say that the file changed: %s", log)
	}
}

// The password is changed at the hub and in the file, in both orders, while
// connections break: nothing is lost, nothing twice, and no restart.
func TestRotation(t *testing.T) {
	d, addr := startGuarded(t, "v1")
	p := startTunnels(t)
	m, file := mount(t, "password", "v1")
	o := plainOptions(addr, file)
	o.Proxy = p.url()
	s := startSink(t, o)
	var next atomic.Uint64
	acked := make(map[uint64]bool)
	send := func() {
		seq := next.Add(1)
		eventually(t, "message is taken", func() bool {
			a := produce(t, s, int32(seq%3), stored(seq))[0]
			if a.err != nil && Classify(a.err) == ClassDead {
				t.Fatal(a.err)
			}
			return a.err == nil
		})
		acked[seq] = true
	}
	for range 10 {
		send()
	}
	m.put("password", "v2") // first the file: what is connected stays so
	send()
	d.takes("v2")
	p.drop()
	for range 10 {
		send()
	}
	d.takes("v3") // first the hub: new connections are refused for a while
	p.drop()
	before := d.refusals()
	mended := make(chan struct{})
	go func() {
		defer close(mended)
		for d.refusals() == before {
			<-time.After(time.Millisecond)
		}
		m.put("password", "v3")
	}()
	for range 10 {
		send()
	}
	<-mended
	o.SASL.PasswordFile = writeFile(t, "password", "v3")
	r, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]int{}
	if err := r.Follow(t.Context(), FollowOptions{Topic: "messages", UntilEnd: true}, func(r Record) error { got[r.Seq]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for seq := range acked {
		if got[seq] != 1 {
			t.Errorf("message %d was taken and is there %d times", seq, got[seq])
		}
	}
	if len(acked) != 31 {
		t.Errorf("%d messages were taken", len(acked))
	}
}

// Connections that exist hide that no new one can be made: a probe does not
// take them for the hub's word, once a connection was refused.
func TestRefusalIsNotHidden(t *testing.T) {
	d, addr := startGuarded(t, "v1")
	file := writeFile(t, "password", "v1")
	s := startSink(t, plainOptions(addr, file))
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.takes("v2")
	// A probe's connection is not the one that records go by.
	m := stored(1)
	var wg sync.WaitGroup
	wg.Add(1)
	if err := s.Produce(&m, 0, s.Turn(), func(int64, error) { wg.Done() }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the probe says that connections are refused", func() bool { return held(s.Probe(t.Context())) })
	d.takes("v1")
	eventually(t, "the probe says that all is well", func() bool { return s.Probe(t.Context()) == nil })
	waitFor(t, &wg)
}

// A file that cannot be used any more is named once; what it held is used on.
func TestBrokenFileIsPassedOver(t *testing.T) {
	_, addr := startGuarded(t, "v1")
	m, file := mount(t, "password", "v1")
	p := startTunnels(t)
	log := &lockedBuffer{}
	o := plainOptions(addr, file)
	o.Proxy = p.url()
	s, err := NewSink(o, Deps{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m.put("password", "")
	for range 3 {
		p.drop()
		eventually(t, "a connection", func() bool { return s.Probe(t.Context()) == nil })
	}
	if n := strings.Count(log.String(), "cannot be used, going on with what they held before"); n != 1 {
		t.Errorf("the log says %d times that the file is broken: %s", n, log)
	}
	if _, err := NewSink(o, Deps{}); err == nil || !strings.Contains(err.Error(), file+":1: is empty") {
		t.Errorf("at the start: %v", err)
	}
}

// A change shows without a connection being made, and other brokers are told.
func TestWatchSeesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, file := mount(t, "hub.properties", "bootstrap.servers=a:1")
		o := DefaultOptions()
		o.ClientPropertiesFile = file
		l, err := newLink(o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(l.opts.Brokers, []string{"a:1"}) {
			t.Errorf("brokers %v", l.opts.Brokers)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		var moved []string
		go func() {
			defer close(done)
			l.watch(ctx, func(b []string) { moved = append(moved, b...) })
		}()
		m.put("hub.properties", "bootstrap.servers=b:2")
		<-time.After(2*lookEvery + time.Second)
		cancel()
		<-done
		if !slices.Equal(moved, []string{"b:2"}) {
			t.Errorf("moved to %v", moved)
		}
	})
}

// The mechanism may change with the file.
func TestOtherMechanism(t *testing.T) {
	_, addr := startCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", "p"), kfake.Superuser("SCRAM-SHA-512", "eve", "s"))
	const scramProperties = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config=ScramLoginModule required username=eve password=s;\n"
	m, file := mount(t, "hub.properties", "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=PlainLoginModule required username=ada password=p;\n")
	p := startTunnels(t)
	o := options(addr)
	o.ClientPropertiesFile, o.Proxy = file, p.url()
	s := startSink(t, o)
	if a := produce(t, s, 0, stored(1))[0]; a.err != nil {
		t.Fatal(a.err)
	}
	m.put("hub.properties", scramProperties)
	p.drop()
	eventually(t, "a message by the other mechanism", func() bool { return produce(t, s, 0, stored(2))[0].err == nil })
	if got := s.link.current().mechanism; got != mechanismScram512 {
		t.Errorf("mechanism %s", got)
	}
}

// Certificates: one that the hub asks for, one that is renewed, one that
// nobody trusts.
func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	_, addr := startCluster(t, a.mutual(t))
	p := startTunnels(t)
	o := options(addr)
	o.Proxy, o.TLS.CAFile = p.url(), a.file
	if err := startSink(t, o).Probe(t.Context()); err == nil {
		t.Error("let in without a certificate")
	}
	stranger := newAuthority(t)
	cert, key := stranger.issue(t, "client")
	m, file := mount(t, "pair", cert+key)
	o.TLS.CertFile, o.TLS.KeyFile = file, file
	s := startSink(t, o)
	eventually(t, "a certificate that the hub does not trust is a hold", func() bool { return held(s.Probe(t.Context())) })
	cert, key = a.issue(t, "client")
	m.put("pair", cert+key)
	if err := s.Probe(t.Context()); err != nil {
		t.Fatalf("with a new certificate: %v", err)
	}
	if a := produce(t, s, 0, stored(1))[0]; a.err != nil {
		t.Fatal(a.err)
	}
	o.TLS.CAFile = stranger.file
	if err := startSink(t, o).Probe(t.Context()); !held(err) {
		t.Errorf("a hub that is not trusted: %v", err)
	}
}

// A record waits through refused connections and is not failed for good.
func TestClassOfConnecting(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want Class
		wide bool
	}{
		"authentication":     {kerr.SaslAuthenticationFailed, ClassHold, true},
		"mechanism":          {kerr.UnsupportedSaslMechanism, ClassHold, true},
		"state":              {kerr.IllegalSaslState, ClassHold, true},
		"our own refusal":    {refusedAccess(errors.New("x")), ClassHold, true},
		"token endpoint":     {&Error{class: ClassRetry, err: errors.New("x")}, ClassRetry, false},
		"alert about a cert": {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, ClassHold, true},
		"alert about itself": {&net.OpError{Op: "remote error", Err: errors.New("tls: internal error")}, ClassRetry, false},
		"network":            {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, ClassRetry, false},
	} {
		err := classified("connect", errors.Join(tc.err))
		var e *Error
		if !errors.As(err, &e) || e.class != tc.want || e.HubWide() != tc.wide {
			t.Errorf("%s: %+v, hub-wide %v", name, e, e.HubWide())
		}
	}
}
