package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// Options are the settings of a queue directory.
type Options struct {
	// Dir is the queue's directory. It is made where it is missing, one level
	// deep; the directory above it must exist.
	Dir string `yaml:"dir"`
	// SegmentBytes is the size of a full segment file in bytes. A lane begins
	// with smaller ones.
	SegmentBytes int64 `yaml:"segment_bytes"`
	// ZeroFill says whether segments are filled with zero bytes ahead of use,
	// which makes syncs faster on local disks and slower on shares: auto,
	// always or never. auto fills on ext4 and XFS.
	ZeroFill string `yaml:"zero_fill"`
	// Retain is how long forwarded messages are kept for replay and look-up.
	Retain time.Duration `yaml:"retain"`
	// ReserveBytes is how much free space the file system must have beside a
	// new segment in bytes. Below that, requests are refused with 507; and
	// before it comes to that, forwarded messages are removed early.
	ReserveBytes int64 `yaml:"reserve_bytes"`
	// QuotaBytes is how much the directory may take in bytes; 0 means as much
	// as there is. Near it forwarded messages are removed early, and beyond it
	// requests are refused with 507. What several gateways write is added up
	// every ten seconds, or more seldom on a slow share: by so much it may be
	// exceeded.
	QuotaBytes int64 `yaml:"quota_bytes"`
	// BallastBytes is the size in bytes of a file in the directory that a
	// forwarder deletes when the disk is so full that it cannot even note what
	// it forwards; 0 means none. It is made anew once there is room.
	BallastBytes int64 `yaml:"ballast_bytes"`
	// MaxPendingBytes bounds the messages that wait for the next sync, in
	// bytes. Beyond it, requests are refused with 503.
	MaxPendingBytes int64 `yaml:"max_pending_bytes"`
	// HeartbeatInterval is how often a writer renews its heartbeat.
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval"`
	// UnsafeFileSystem goes on where the file system under the directory is
	// refused as one on which acknowledged messages may be lost. For tests and
	// trials; it logs an error at each start.
	UnsafeFileSystem bool `yaml:"unsafe_file_system"`
	// TTL is how long a heartbeat counts. A writer whose renewal is older
	// acknowledges nothing more and begins a new lane.
	TTL time.Duration `yaml:"ttl"`
	// TakeoverMargin is how much longer than TTL a heartbeat must have stood
	// still before another process ends the lane.
	TakeoverMargin time.Duration `yaml:"takeover_margin"`
}

// DefaultOptions returns the options of a production stamp, without a directory.
func DefaultOptions() Options {
	return Options{
		SegmentBytes:      64 << 20,
		ZeroFill:          "auto",
		Retain:            24 * time.Hour,
		ReserveBytes:      64 << 20,
		BallastBytes:      16 << 20,
		MaxPendingBytes:   64 << 20,
		HeartbeatInterval: 2 * time.Second,
		TTL:               10 * time.Second,
		TakeoverMargin:    3 * time.Second,
	}
}

const minSegmentBytes = 64 << 10

// minBallastBytes is room for some claims with their progress.
const minBallastBytes = 1 << 20

// Validate reports every setting that cannot work.
func (o Options) Validate() error {
	var errs []error
	bad := func(path string, value any, rule string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", path, value, rule))
	}
	if o.Dir == "" {
		bad("dir", `""`, "must name the queue's directory")
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > 1<<30 {
		bad("segment_bytes", o.SegmentBytes, "must be between 65536 and 1073741824")
	}
	if o.ZeroFill != "auto" && o.ZeroFill != "always" && o.ZeroFill != "never" {
		bad("zero_fill", o.ZeroFill, "must be auto, always or never")
	}
	if o.Retain < 0 {
		bad("retain", o.Retain, "must not be negative")
	}
	if o.ReserveBytes < 0 {
		bad("reserve_bytes", o.ReserveBytes, "must not be negative")
	}
	if least := 4*o.SegmentBytes + o.BallastBytes; o.QuotaBytes != 0 && o.QuotaBytes < least {
		bad("quota_bytes", o.QuotaBytes, fmt.Sprintf("must be 0 or at least four times segment_bytes and ballast_bytes, %d", least))
	}
	if o.BallastBytes < 0 || o.BallastBytes > 0 && o.BallastBytes < minBallastBytes {
		bad("ballast_bytes", o.BallastBytes, "must be 0 or at least 1048576")
	}
	if o.MaxPendingBytes < 1<<20 {
		bad("max_pending_bytes", o.MaxPendingBytes, "must be at least 1048576")
	}
	if o.HeartbeatInterval <= 0 || o.HeartbeatInterval > o.TTL/3 {
		bad("heartbeat_interval", o.HeartbeatInterval, "must be positive and at most a third of ttl")
	}
	if o.TTL <= 0 {
		bad("ttl", o.TTL, "must be positive")
	}
	if o.TakeoverMargin <= 0 {
		bad("takeover_margin", o.TakeoverMargin, "must be positive")
	}
	return errors.Join(errs...)
}

// Part says what a process does with a queue directory that it shares.
type Part int

// The parts of a process.
const (
	// WritesAndDrains is that of a stamp in one process.
	WritesAndDrains Part = iota
	// Writes is that of a gateway alone: it appends, and looks messages up.
	Writes
	// Drains is that of a forwarder alone: it claims chains, ends the lanes of
	// dead processes, and removes what was forwarded.
	Drains
)

func (p Part) writes() bool { return p != Drains }
func (p Part) drains() bool { return p != Writes }

// Deps are what a queue works with.
type Deps struct {
	// Part says what this process does with the directory.
	Part Part
	// FS is the file system; nil means durable.OS.
	FS durable.FS
	// Log receives changes of state.
	Log *slog.Logger
	// Registerer receives the metrics; nil means none.
	Registerer prometheus.Registerer
	// Stamp is the stamp's name, recorded in the lanes.
	Stamp string
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Elapsed is a clock that goes on while the machine is suspended and is
	// never set; nil means CLOCK_BOOTTIME. It decides whether a renewal is
	// overdue: with one that stands still in suspend, a writer that wakes
	// after its lane was sealed would believe that no time had passed.
	Elapsed func() time.Duration
	// Forwarded, where set, tells below which seq a lane's messages are known
	// to be in the hub, which may be more than the saved progress says; 0
	// where nothing is known. It is for counting what waits, and decides
	// nothing.
	Forwarded func(lane string) uint64
	// KeysRetain is how long clients' idempotency keys are kept in key files;
	// 0 means 24 hours. It is the gateway's idempotency.retention.
	KeysRetain time.Duration
	// Synced, where set, is called with the number of groups after each sync
	// and fence check, before their callers are answered.
	Synced func(groups int)
}

func (d Deps) withDefaults() Deps {
	if d.FS == nil {
		d.FS = durable.OS{}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Elapsed == nil {
		d.Elapsed = boottime
	}
	if d.Forwarded == nil {
		d.Forwarded = func(string) uint64 { return 0 }
	}
	if d.KeysRetain <= 0 {
		d.KeysRetain = 24 * time.Hour
	}
	if d.Synced == nil {
		d.Synced = func(int) {}
	}
	return d
}

// errLaneEnded is what callers see whose group was written, but not known to
// be kept, when the lane ended.
var errLaneEnded = fmt.Errorf("the lane ended before the message was known to be kept: %w", message.ErrOutcomeUnknown)
