package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// Backend is an origin that does as it is told and keeps a record of what it
// executed: a line in a file for each request whose body came whole, written
// before the answer begins. What was written survives SIGKILL. It tells nothing
// apart and drops no repeat, so that its record shows what a proxy really did.
//
// Its /healthz answers 200 whatever else it does, unless it is told not to.
type Backend struct {
	behaviour atomic.Pointer[Behaviour]

	mu     sync.Mutex
	record *os.File // guarded by mu, so that lines are whole
}

// Behaviour is how a Backend answers from now on.
type Behaviour struct {
	// Work is how long a request takes once its body is there.
	Work time.Duration `json:"work"`
	// Status, where it is not 0, is the answer to everything, and nothing is
	// executed.
	Status int `json:"status"`
	// Sick makes probes fail, too.
	Sick bool `json:"sick"`
}

// The paths of a Backend that are not of requests.
const (
	backendProbe = "/healthz"
	backendRule  = "/drill/behaviour"
)

// RunBackend listens at an address, serves until ctx ends, and writes to the file
// ready where it listens, as the binary does by --addresses-file. control, where
// set, prepares the socket.
func RunBackend(ctx context.Context, listen, record, ready string, b Behaviour, control func(network, address string, c syscall.RawConn) error) (err error) {
	f, err := os.OpenFile(record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record of a backend: %w", err)
	}
	backend := &Backend{record: f}
	backend.behaviour.Store(&b)
	defer func() { err = errors.Join(err, f.Close()) }()
	config := net.ListenConfig{Control: control}
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	text, err := json.Marshal(Addresses{Gateways: map[string]string{"backend": "http://" + l.Addr().String()}})
	if err == nil {
		// Whoever waits for the file must not find half of it.
		if err = os.WriteFile(ready+".new", text, 0o600); err == nil {
			err = os.Rename(ready+".new", ready)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("backend: say where it listens: %w", err), l.Close())
	}
	// Nothing is closed for being idle: a proxy's own time limits decide.
	server := &http.Server{Handler: backend, ReadHeaderTimeout: time.Hour}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("backend: %w", err)
	case <-ctx.Done():
		return server.Close()
	}
}

// ServeHTTP implements http.Handler.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule := b.behaviour.Load()
	switch {
	case r.URL.Path == backendRule:
		b.follow(w, r)
	case r.URL.Path == backendProbe && rule.Sick:
		http.Error(w, "sick", http.StatusServiceUnavailable)
	case r.URL.Path == backendProbe:
		fmt.Fprintln(w, "ok")
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		b.socket(w, r)
	default:
		b.execute(w, r, *rule)
	}
}

// follow takes a behaviour.
func (b *Backend) follow(w http.ResponseWriter, r *http.Request) {
	var rule Behaviour
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&rule); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.behaviour.Store(&rule)
}

// maxBackendBody bounds what is taken of a body.
const maxBackendBody = 16 << 20

func (b *Backend) execute(w http.ResponseWriter, r *http.Request, rule Behaviour) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBackendBody))
	if err != nil {
		return // it did not come whole, and nobody waits for an answer
	}
	if rule.Status != 0 {
		http.Error(w, "as it was told", rule.Status)
		return
	}
	if r.Method == http.MethodPost {
		if err := b.enter(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if rule.Work > 0 && rest(r.Context(), rule.Work) != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusAccepted)
	}
	fmt.Fprintln(w, `{"accepted":1}`)
}

// enter writes a line: the print of the message, the idempotency key, the number
// of the attempt as the proxy gives it, and when.
func (b *Backend) enter(r *http.Request, body []byte) error {
	var key []byte
	if r.URL.Query().Has("key") {
		key = []byte(r.URL.Query().Get("key"))
	}
	p := PrintOf(kindPlain, key, body)
	line := fmt.Sprintf("%x %d %q %q\n", p[:], time.Now().UnixNano(), r.Header.Get("Postroad-Attempt"), r.Header.Get("Idempotency-Key"))
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.record.WriteString(line)
	return err
}

// socket keeps a WebSocket open until the other side ends it. What comes is
// read and forgotten.
func (b *Backend) socket(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256)) // whatever ended it, it is over
}

// Behave tells a Backend that listens at a base URL what to do from now on.
func Behave(ctx context.Context, base string, rule Behaviour) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	text, err := json.Marshal(rule)
	if err != nil {
		return fmt.Errorf("behaviour: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+backendRule, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("behaviour: %w", err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("behaviour: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("behaviour: %s", res.Status)
	}
	return nil
}

// execution is a line of a Backend's record.
type execution struct {
	print   Print
	at      time.Time
	attempt string
	key     string
}

// readExecutions reads the record of a Backend; of one that never ran it is
// empty. A last line that was cut off by a kill is not of an execution that
// anybody was told of.
func readExecutions(path string) ([]execution, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record of a backend: %w", err)
	}
	var all []execution
	lines := bufio.NewScanner(bytes.NewReader(text[:bytes.LastIndexByte(text, '\n')+1]))
	for n := 1; lines.Scan(); n++ {
		e, err := parseExecution(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		all = append(all, e)
	}
	return all, lines.Err()
}

var errExecution = errors.New("not a line of a backend's record")

func parseExecution(line string) (e execution, err error) {
	hash, rest, _ := strings.Cut(line, " ")
	at, rest, _ := strings.Cut(rest, " ")
	if len(hash) != hex.EncodedLen(len(e.print)) {
		return e, fmt.Errorf("%w: %.80q", errExecution, line)
	}
	if _, err := hex.Decode(e.print[:], []byte(hash)); err != nil {
		return e, fmt.Errorf("%w: %w", errExecution, err)
	}
	nano, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return e, fmt.Errorf("%w: %w", errExecution, err)
	}
	e.at = time.Unix(0, nano)
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return e, fmt.Errorf("%w: attempt: %.80q", errExecution, rest)
	}
	key := strings.TrimPrefix(rest[len(quoted):], " ")
	if e.attempt, err = strconv.Unquote(quoted); err != nil {
		return e, fmt.Errorf("%w: attempt: %.80q", errExecution, rest)
	}
	if e.key, err = strconv.Unquote(key); err != nil {
		return e, fmt.Errorf("%w: key: %.80q", errExecution, key)
	}
	return e, nil
}
