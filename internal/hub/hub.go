package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Deps are what the hub is given beside its settings.
type Deps struct {
	// Log receives what the hub has to say; nil drops it.
	Log *slog.Logger
}

// Hub is a running embedded hub. Its methods are safe for concurrent use.
type Hub struct {
	opts      Options
	log       *slog.Logger
	cluster   *kfake.Cluster
	addr      string
	unlock    func() error
	wanted    chan string // topics that clients asked for, to be created by Run
	closeOnce sync.Once
	closeErr  error
}

// New takes the directory, binds the listener, loads what is stored and begins
// to answer. Errors name the directory that another process holds (ErrLocked)
// or the address in use; what was taken is given back. The caller runs Run, or
// at least calls Close.
func New(opts Options, deps Deps) (_ *Hub, err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	h := &Hub{opts: opts, log: deps.Log, unlock: func() error { return nil }, wanted: make(chan string, 16)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if opts.Dir != "" {
		if h.unlock, err = lockDir(opts.Dir); err != nil {
			return nil, err
		}
	}
	ln, err := h.listen()
	if err != nil {
		return nil, errors.Join(err, h.unlock())
	}
	if h.cluster, err = kfake.NewCluster(h.clusterOptions(ln)...); err != nil {
		return nil, errors.Join(fmt.Errorf("start the hub: %w", err), ln.Close(), h.unlock())
	}
	if opts.AutoCreateTopics {
		h.watchMetadata()
	}
	for _, t := range opts.Topics {
		if err := h.createTopic(t); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// listen binds before anything else is started.
func (h *Hub) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", h.opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("hub listener: %w", err)
	}
	h.addr = ln.Addr().String()
	if h.opts.Advertise != "" {
		host, port, err := splitAddr(h.opts.Advertise)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("advertise: %w", err), ln.Close())
		}
		if port == 0 {
			port = ln.Addr().(*net.TCPAddr).Port
		}
		h.addr = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return &listener{Listener: ln, addr: advertised(h.addr)}, nil
}

func (h *Hub) clusterOptions(ln net.Listener) []kfake.Opt {
	o := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
		kfake.WithLogger(logger{h.log}),
		// A cluster id of its own for each directory: positions of readers are
		// void when the directory was thrown away. A stored one wins over this.
		kfake.ClusterID(newClusterID()),
		kfake.DefaultNumPartitions(h.opts.Partitions),
		// Retention is set at the broker and not with each topic, so that a
		// changed setting holds for topics that exist.
		kfake.BrokerConfigs(map[string]string{
			"log.retention.ms":       strconv.FormatInt(h.opts.Retention.Milliseconds(), 10),
			"log.retention.bytes":    strconv.FormatInt(h.opts.RetentionBytes, 10),
			"log.cleaner.backoff.ms": strconv.FormatInt(cleanEvery.Milliseconds(), 10),
		}),
	}
	if h.opts.Dir != "" {
		o = append(o, kfake.DataDir(h.opts.Dir))
		if h.opts.SyncWrites {
			o = append(o, kfake.SyncWrites())
		}
	}
	return o
}

func newClusterID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, crypto/rand aborts the program first
	return "postroad-" + hex.EncodeToString(b[:])
}

// Addr is the address clients connect to, host:port.
func (h *Hub) Addr() string { return h.addr }

// cleanEvery is how often retention and compaction run. The broker's own timer
// starts only when a topic is created, so after a restart it would not run.
const cleanEvery = 30 * time.Second

// Run creates the topics that clients ask for and applies retention, until ctx
// ends; then it closes the hub and returns nil, or why state could not be
// saved.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return h.Close()
		case t := <-h.wanted:
			if err := h.createTopic(t); err != nil {
				h.log.Warn("hub could not create a topic", "topic", t, "err", err)
			}
		case <-tick.C:
			h.cluster.Compact() // both compaction and retention
		}
	}
}

// Close stops the hub: it answers nobody any more, writes its state and gives
// the directory back. It may be called more than once.
func (h *Hub) Close() error {
	h.closeOnce.Do(func() {
		h.cluster.Close()
		h.closeErr = h.unlock()
	})
	return h.closeErr
}
