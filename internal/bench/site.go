package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/internal/drill"
	"postroad/internal/kafka"
	"postroad/internal/loopback"
	"postroad/internal/message"
)

// site is a stamp and a hub, each a process of its own, so that what is
// measured of one is its own. The hub's address is fixed and nothing listens at
// it until the hub is started.
type site struct {
	binary drill.Binary
	dir    string
	hub    string
}

// stampName is the name of the stamp under test.
const stampName = "bench"

// newSite makes a directory for a stamp and a hub that are not started yet.
func newSite(ctx context.Context, binary, dir string) (*site, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	hub, err := loopback.Address(ctx)
	if err != nil {
		return nil, err
	}
	return &site{binary: drill.Binary{Path: binary, Dir: dir, Plain: true}, dir: dir, hub: hub}, nil
}

func (s *site) queueDir() string { return filepath.Join(s.dir, "queue") }

// startStamp starts the stamp with production settings, but for addresses, its
// directory, and the delay before it stops, when nobody is left to be warned.
// The caller ends it.
func (s *site) startStamp(ctx context.Context) (*drill.Process, error) {
	return s.binary.Start(
		ctx, "stamp",
		"--set", "stamp.name="+stampName, "--set", "queue.dir="+filepath.ToSlash(s.queueDir()),
		"--set", "hub.brokers="+s.hub,
		"--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0",
		"--set", "http.drain_delay=0s", "--set", "log.level=warn",
	)
}

// startHub starts the hub. The caller ends it.
func (s *site) startHub(ctx context.Context) (*drill.Process, error) {
	return s.binary.Start(ctx, "hub", "--listen", s.hub, "--data", filepath.Join(s.dir, "hub"))
}

// load is what a stamp is filled with.
type load struct {
	messages, bytes int
	// connections and batch say how: NDJSON batches, one after the other on
	// each connection.
	connections, batch int
}

// keys is how many keys there are in a load.
const keys = 1000

// body is a batch of n messages with keys in turn, as NDJSON.
func (l load) body(n, from int) []byte {
	value := strings.Repeat("x", l.bytes)
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"key":"key-%03d","value":"%s"}`+"\n", (from+i)%keys, value)
	}
	return b.Bytes()
}

// fill posts the load and returns the messages per second. Every message is
// acknowledged when it returns.
func (l load) fill(ctx context.Context, url string) (rate float64, err error) {
	host, err := drill.HostOf(url)
	if err != nil {
		return 0, err
	}
	post := func(n, from int) []byte {
		return drill.AppendPost(nil, host, "/v1/topics/"+topic+"/messages", "application/x-ndjson", nil, l.body(n, from))
	}
	var mu sync.Mutex
	left := l.messages // guarded by mu
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		n := min(left, l.batch)
		left -= n
		return n
	}
	errs := make([]error, l.connections)
	var all sync.WaitGroup
	began := time.Now()
	for i := range l.connections {
		all.Go(func() {
			c, err := drill.Dial(ctx, url)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			full := post(l.batch, i*l.batch)
			for n := take(); n > 0 && errs[i] == nil && ctx.Err() == nil; n = take() {
				request := full
				if n < l.batch {
					request = post(n, i*l.batch)
				}
				errs[i] = errors.Join(c.SetDeadline(time.Now().Add(2*patience)), once(c, request))
			}
		})
	}
	all.Wait()
	return float64(l.messages) / time.Since(began).Seconds(), errors.Join(append(errs, ctx.Err())...)
}

// firstAccepted posts one message until it is acknowledged, and returns when
// that was.
func firstAccepted(ctx context.Context, p *drill.Process) (time.Time, error) {
	url := p.Addresses.Gateways[stampName]
	host, err := drill.HostOf(url)
	if err != nil {
		return time.Time{}, err
	}
	c, err := drill.Dial(ctx, url)
	if err != nil {
		return time.Time{}, err
	}
	defer c.Close()
	request := drill.AppendPost(nil, host, "/v1/topics/"+topic+"/messages", "text/plain", nil, []byte("first"))
	var last error
	err = drill.Until(ctx, patience, "a message is accepted", func() (bool, error) {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return false, err
		}
		a, err := c.Do(request)
		if err != nil {
			return false, err
		}
		last = fmt.Errorf("answer %d: %.300s", a.Status, a.Body)
		return drill.Judged(a.Status) == drill.Acknowledged, nil
	})
	if err != nil {
		return time.Time{}, errors.Join(err, last)
	}
	return time.Now(), nil
}

// observer watches the ends of topics in the hub. What it sees is the same for
// whoever produced.
type observer struct {
	sink *kafka.Sink
}

// observe connects to a hub.
func observe(hub string) (*observer, error) {
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{hub}
	s, err := kafka.NewSink(opts, kafka.Deps{})
	if err != nil {
		return nil, err
	}
	return &observer{s}, nil
}

func (o *observer) close() { o.sink.Close() }

// topic makes sure that a topic exists and returns its partitions with their ends.
func (o *observer) topic(ctx context.Context, name string) ([]message.Mark, error) {
	n, err := o.sink.Partitions(ctx, name)
	if err != nil {
		return nil, err
	}
	var marks []message.Mark
	for i := range n {
		marks = append(marks, message.Mark{Topic: name, Partition: i})
	}
	return o.sink.Ends(ctx, marks)
}

// records is how many records have come to the partitions since.
func (o *observer) records(ctx context.Context, since []message.Mark) (int64, error) {
	ends, err := o.sink.Ends(ctx, since)
	n := int64(0)
	for i, e := range ends {
		n += e.Offset - since[i].Offset
	}
	return n, err
}

// passage is how the records of a topic came in.
type passage struct {
	// first is when some were seen first, and how many there were; last is when
	// all were.
	first, last  time.Time
	early, total int64
}

// rate is the records per second from the first sight to the last record.
func (p passage) rate() float64 {
	return float64(p.total-p.early) / max(p.last.Sub(p.first), time.Microsecond).Seconds()
}

// watch waits until the partitions have n records.
func (o *observer) watch(ctx context.Context, of []message.Mark, n int64, limit time.Duration) (p passage, err error) {
	err = drill.Until(ctx, limit, fmt.Sprintf("%d records are in the hub", n), func() (bool, error) {
		got, err := o.records(ctx, of)
		now := time.Now()
		if err == nil && got > 0 && p.first.IsZero() {
			p.first, p.early = now, got
		}
		p.last, p.total = now, got
		return got >= n, err
	})
	return p, err
}

// memory is what a process has of it, in bytes.
type memory struct{ resident, peak int64 }

// memoryOf asks the system for the memory of a process: resident now, and the
// most that ever was.
func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(string(text))
}

func parseMemory(status string) (m memory, err error) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &m.resident
		case "VmHWM":
			to = &m.peak
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("memory of a process: %w", err)
		}
		*to = kib << 10
	}
	if m.resident == 0 || m.peak == 0 {
		return memory{}, errors.New("memory of a process: the system does not say")
	}
	return m, nil
}

// diskUsed is what the files below a directory take on the disk, in bytes.
// Files that go away meanwhile do not count.
func diskUsed(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					total += st.Blocks * 512
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// diskFree is what may still be written to the file system of a directory, in
// bytes.
func diskFree(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
