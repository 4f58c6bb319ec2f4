package fulldisk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postroad/internal/drill"
	"postroad/internal/loopback"
)

// The file system, and what the stamp is told about it, in bytes.
const (
	diskBytes    = 48 << 20
	segmentBytes = 1 << 20
	reserveBytes = 4 << 20
	ballastBytes = 2 << 20
	valueBytes   = 16 << 10
)

// patience is how long anything may take that the stamp does by itself.
const patience = 60 * time.Second

const topic = "full"

// stand is a hub, a small file system, and the stamp under test.
type stand struct {
	t      *testing.T
	binary drill.Binary
	ledger *drill.Ledger
	load   *drill.Load
	hub    string // its address, whether it runs or not
	mount  string
	stamp  *drill.Process
}

// TestFullDisk: a share that is full to the last page, with a backlog on it, the
// hub away and the gateway killed. A stamp that starts there says that it takes
// nothing, forwards as soon as the hub is back, removes what it forwarded, and
// takes messages again, all by itself. Acknowledged and lost: 0.
func TestFullDisk(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	s := newStand(t)
	s.hubOnce() // for its address; then it is away
	s.start()
	s.ready(http.StatusOK)
	s.until("a ballast is there", func() (bool, error) {
		_, err := os.Stat(filepath.Join(s.mount, "queue", "ballast"))
		return err == nil, nil
	})
	s.fill()
	s.ready(http.StatusServiceUnavailable)
	s.refuses("reserve")
	s.lastPage()
	s.check(s.stamp.Kill())

	s.start() // on a disk without a free page
	s.ready(http.StatusServiceUnavailable)
	hub := s.startHub()
	s.ready(http.StatusOK)
	s.send(20)
	result, err := s.binary.Judge(t.Context(), s.ledger, s.stamp, s.hub, topic)
	s.check(err)
	if !result.Verdict.OK() {
		t.Error(result)
	}
	t.Logf("%d requests acknowledged\n%s", s.load.Acknowledged(), result)
	if s.load.Acknowledged() < 1000 {
		t.Errorf("only %d requests were acknowledged: the disk was not filled by messages", s.load.Acknowledged())
	}
	s.check(s.stamp.Stop())
	s.check(hub.Stop())
}

func newStand(t *testing.T) *stand {
	dir := t.TempDir()
	s := &stand{t: t, mount: filepath.Join(dir, "disk"), ledger: drill.NewLedger()}
	s.check(os.Mkdir(s.mount, 0o755))
	mountSmall(t, s.mount, diskBytes)
	s.binary = drill.Binary{Path: os.Getenv(insideEnv), Dir: dir}
	s.load = drill.NewLoad(s.ledger, drill.LoadOptions{
		Topic: topic, Connections: 4, ValueBytes: valueBytes, Patience: 15 * time.Second, Seed: uint64(time.Now().UnixNano()),
	})
	return s
}

func (s *stand) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) until(what string, done func() (bool, error)) {
	s.t.Helper()
	if err := drill.Until(s.t.Context(), patience, what, done); err != nil {
		s.t.Fatalf("%v\nthe log ends:\n%s", err, s.stamp.LogTail())
	}
}

func (s *stand) startHub() *drill.Process {
	s.t.Helper()
	listen := s.hub
	if listen == "" {
		var err error
		listen, err = loopback.Address(s.t.Context())
		s.check(err)
	}
	p, err := s.binary.Start(s.t.Context(), "hub", "--listen", listen, "--data", filepath.Join(s.binary.Dir, "hub"))
	s.check(err)
	s.hub = p.Addresses.Hub
	return p
}

func (s *stand) hubOnce() {
	s.t.Helper()
	s.check(s.startHub().Stop())
}

func (s *stand) start() {
	s.t.Helper()
	args := []string{"stamp"}
	for _, set := range []string{
		"stamp.name=full", "http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "http.drain_delay=0s",
		"queue.dir=" + filepath.Join(s.mount, "queue"), "queue.unsafe_file_system=true", "hub.brokers=" + s.hub,
		fmt.Sprint("queue.segment_bytes=", segmentBytes), fmt.Sprint("queue.reserve_bytes=", reserveBytes),
		fmt.Sprint("queue.ballast_bytes=", ballastBytes),
	} {
		args = append(args, "--set", set)
	}
	p, err := s.binary.Start(s.t.Context(), args...)
	s.check(err)
	s.stamp = p
}

// ready waits until the stamp's readiness is as wanted.
func (s *stand) ready(want int) {
	s.t.Helper()
	s.until(fmt.Sprint("/readyz answers ", want), func() (bool, error) {
		status, _, err := get(s.t.Context(), s.stamp.Addresses.Admin+"/readyz")
		return status == want, err
	})
}

// fill sends until the stamp is not ready.
func (s *stand) fill() {
	s.t.Helper()
	s.underLoad(func() {
		s.until("the disk is full", func() (bool, error) {
			status, _, err := get(s.t.Context(), s.stamp.Addresses.Admin+"/readyz")
			return status == http.StatusServiceUnavailable, err
		})
	})
}

// send sends until so many more requests are acknowledged.
func (s *stand) send(n int64) {
	s.t.Helper()
	before := s.load.Acknowledged()
	s.underLoad(func() {
		s.until("requests are acknowledged", func() (bool, error) { return s.load.Acknowledged() >= before+n, nil })
	})
}

func (s *stand) underLoad(do func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.load.Run(ctx, drill.Target{URL: s.stamp.Addresses.Gateways["full"], Ordered: true})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}()
	do()
}

// refuses posts a message and looks for 507, and in the status for a word of the
// reason. It is a large one: a small one may find a place in the last segment.
func (s *stand) refuses(word string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost,
		s.stamp.Addresses.Gateways["full"]+"/v1/topics/"+topic+"/messages", strings.NewReader(strings.Repeat("one more ", 80_000)))
	s.check(err)
	status, body, err := do(req)
	s.check(err)
	if status != http.StatusInsufficientStorage {
		s.t.Errorf("a message for a full disk: %d %s", status, body)
	}
	stamps, err := s.stamp.Status(s.t.Context())
	s.check(err)
	if why := stamps[0].Queue.Trouble; !strings.Contains(why, word) {
		s.t.Errorf("the status of a full disk: %q", why)
	}
}

// lastPage takes what is left of the file system, as somebody else on it would.
func (s *stand) lastPage() {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.mount, "somebody-elses"))
	s.check(err)
	for size := 1 << 20; size > 0; {
		_, err := io.CopyN(f, rand.Reader, int64(size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			s.t.Fatal(err)
		}
	}
	s.check(f.Close())
	var st unix.Statfs_t
	s.check(unix.Statfs(s.mount, &st))
	if st.Bavail != 0 {
		s.t.Fatalf("%d pages are left of a full disk", st.Bavail)
	}
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	return do(req)
}

func do(req *http.Request) (status int, body string, err error) {
	req.Close = true // nothing of it stays behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(text), err
}
