package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/bbolt"
)

// store keeps records. put returns once the record is on stable storage; many
// call it at a time.
type store interface {
	put(key, value []byte) error
	io.Closer
}

// peer is a store with what it is called.
type peer struct {
	name, about, module string
	open                func(dir string, writers int) (store, error)
}

// peers are all stores that there are, each as its documentation advises for
// many writers that want to be synced.
func peers() []peer {
	return []peer{
		{"pebble", "Pebble, Set with Sync", "github.com/cockroachdb/pebble/v2", openPebble},
		{"bbolt", "bbolt, Batch", "go.etcd.io/bbolt", openBolt},
	}
}

// Description is what list prints of a store.
type Description struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
}

func described() ([]Description, error) {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("the binary does not know what it was built from")
	}
	var all []Description
	for _, p := range peers() {
		d := Description{Name: p.name, About: p.about}
		for _, m := range build.Deps {
			if m.Path == p.module {
				d.Version = m.Version
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// Measured is what store prints.
type Measured struct {
	Name    string `json:"name"`
	Writers int    `json:"writers"`
	Bytes   int    `json:"bytes"`
	// Records is how many were acknowledged within Seconds.
	Records int64   `json:"records"`
	Seconds float64 `json:"seconds"`
}

// measure lets writers put records, each after the one before is durable, and
// counts those that are answered within d. Counting begins once each writer has
// had an answer.
func measure(ctx context.Context, name, dir string, writers, size int, d time.Duration) (m Measured, err error) {
	for _, p := range peers() {
		if p.name != name {
			continue
		}
		s, err := p.open(dir, writers)
		if err != nil {
			return Measured{}, fmt.Errorf("open %s: %w", name, err)
		}
		records, err := hammer(ctx, s, writers, size, d)
		if err = errors.Join(err, s.Close()); err != nil {
			return Measured{}, fmt.Errorf("%s: %w", name, err)
		}
		return Measured{Name: name, Writers: writers, Bytes: size, Records: records, Seconds: d.Seconds()}, nil
	}
	return Measured{}, fmt.Errorf("no store %q", name)
}

func hammer(ctx context.Context, s store, writers, size int, d time.Duration) (int64, error) {
	var (
		seq, records atomic.Int64
		warm, all    sync.WaitGroup
		begin        = make(chan struct{})
		end          time.Time // set before begin is closed
		value        = bytes.Repeat([]byte{'x'}, size)
		errs         = make([]error, writers)
	)
	put := func() error {
		var key [8]byte
		binary.BigEndian.PutUint64(key[:], uint64(seq.Add(1)))
		return s.put(key[:], value)
	}
	warm.Add(writers)
	for i := range writers {
		all.Go(func() {
			errs[i] = put()
			warm.Done()
			<-begin
			n := int64(0)
			for errs[i] == nil && ctx.Err() == nil {
				errs[i] = put()
				if time.Now().After(end) {
					break
				}
				n++
			}
			records.Add(n)
		})
	}
	warm.Wait()
	end = time.Now().Add(d)
	close(begin)
	all.Wait()
	return records.Load(), errors.Join(append(errs, ctx.Err())...)
}

type pebbleStore struct{ db *pebble.DB }

func openPebble(dir string, _ int) (store, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		return nil, err
	}
	return pebbleStore{db}, nil
}

func (s pebbleStore) put(key, value []byte) error { return s.db.Set(key, value, pebble.Sync) }
func (s pebbleStore) Close() error                { return s.db.Close() }

// silent drops what Pebble has to say beside its errors, which it returns.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

type boltStore struct{ db *bbolt.DB }

var bucket = []byte("records")

// openBolt lets a batch begin as soon as every writer has joined it: waiting
// longer brings nobody else.
func openBolt(dir string, writers int) (store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o644, nil)
	if err != nil {
		return nil, err
	}
	db.MaxBatchSize = writers
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return boltStore{db}, nil
}

func (s boltStore) put(key, value []byte) error {
	return s.db.Batch(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = 1 // keys ascend: pages are left full
		return b.Put(key, value)
	})
}

func (s boltStore) Close() error { return s.db.Close() }
