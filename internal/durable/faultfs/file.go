package faultfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"syscall"
)

// errEOF passes as it is, as package os has it.
var errEOF = io.EOF

// file is a handle.
type file struct {
	fs     *FS
	name   string
	write  bool
	node   *node // guarded by disk.mu, as is closed
	closed bool
}

func (h *file) do(op Op, apply func(n int) error) error {
	op.Name = h.name
	return h.fs.do(call{op: op, apply: func(n int) error {
		if h.closed {
			return fs.ErrClosed
		}
		return apply(n)
	}})
}

// ReadAt implements durable.File.
func (h *file) ReadAt(p []byte, off int64) (int, error) {
	got := 0
	err := h.do(Op{Kind: OpRead, Offset: off, Length: len(p)}, func(n int) error {
		switch {
		case h.node.dir:
			return syscall.EISDIR
		case off < 0:
			return syscall.EINVAL
		}
		got = h.node.read(off, p[:n])
		if got < n {
			return errEOF
		}
		return nil
	})
	return got, err
}

// WriteAt implements durable.File.
func (h *file) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	err := h.do(Op{Kind: OpWrite, Offset: off, Length: len(p)}, func(n int) error {
		switch {
		case !h.write:
			return syscall.EBADF
		case off < 0:
			return syscall.EINVAL
		}
		var err error
		done, err = h.fs.disk.write(h.node, off, p[:n])
		return err
	})
	if err != nil && done == len(p) {
		done = 0 // applied, and the answer lost
	}
	return done, err
}

// Datasync implements durable.File.
func (h *file) Datasync() error {
	return h.fs.do(call{
		op: Op{Kind: OpSync, Name: h.name},
		apply: func(int) error {
			if h.closed {
				return fs.ErrClosed
			}
			return h.fs.disk.sync(h.node)
		},
		spoil: func(after Pages, rng *rand.Rand) {
			if !h.closed && !h.node.dir {
				h.fs.disk.failSync(h.node, after, rng)
			}
		},
	})
}

// Size implements durable.File.
func (h *file) Size() (int64, error) {
	var size int64
	err := h.do(Op{Kind: OpSize}, func(int) error {
		size = h.node.size
		return nil
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

// Close implements durable.File. The handle is closed whether or not it fails.
func (h *file) Close() error {
	err := h.do(Op{Kind: OpClose}, func(int) error {
		h.release()
		return nil
	})
	defer h.fs.lock()()
	if !h.closed {
		h.release()
	}
	return err
}

func (h *file) release() {
	h.closed = true
	h.node.opens--
	h.fs.disk.release(h.node)
}
