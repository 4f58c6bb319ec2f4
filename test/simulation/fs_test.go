package simulation

import (
	"io/fs"
	"path"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// mount is a process's view of its host: operations stand still while the
// process is paused, and spoil may change what they find.
type mount struct {
	p     *process
	host  *faultfs.Host
	spoil spoil
}

// spoil is how a sabotaged twin sees the share. Each may be nil.
type spoil struct {
	// read changes what was read.
	read func(p *process, name string, b []byte)
	// sync reports that a sync is skipped.
	sync func(p *process, name string) bool
	// create reports that a create is not done and a file is given that is
	// nowhere.
	create func(p *process, name string) bool
}

func (m mount) around(kind faultfs.Kind, name string, do func() error) error {
	m.p.reach(kind, name, false)
	m.p.standAt(name)
	err := do()
	m.p.reach(kind, name, true)
	m.p.standAt(name)
	return err
}

func (m mount) open(kind faultfs.Kind, name string, do func(string) (durable.File, error)) (f durable.File, err error) {
	err = m.around(kind, name, func() error {
		f, err = do(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return handle{f, m, name}, nil
}

func (m mount) Create(name string) (durable.File, error) {
	if m.spoil.create != nil && m.spoil.create(m.p, name) {
		return handle{nowhere{}, m, name}, nil
	}
	return m.open(faultfs.OpCreate, name, func(name string) (durable.File, error) {
		f, err := m.host.Create(name)
		if err == nil {
			m.p.made(name)
		}
		return f, err
	})
}

func (m mount) Open(name string) (durable.File, error) {
	return m.open(faultfs.OpOpen, name, m.host.Open)
}

func (m mount) OpenWrite(name string) (durable.File, error) {
	return m.open(faultfs.OpOpenWrite, name, m.host.OpenWrite)
}

func (m mount) Mkdir(name string) error {
	return m.around(faultfs.OpMkdir, name, func() error { return m.host.Mkdir(name) })
}

func (m mount) Remove(name string) error {
	return m.around(faultfs.OpRemove, name, func() error { return m.host.Remove(name) })
}

func (m mount) SyncDir(name string) error {
	return m.around(faultfs.OpSyncDir, name, func() error { return m.host.SyncDir(name) })
}

func (m mount) Touch(name string) error {
	return m.around(faultfs.OpTouch, name, func() error { return m.host.Touch(name) })
}

func (m mount) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = m.around(faultfs.OpReadDir, name, func() error {
		entries, err = m.host.ReadDir(name)
		return err
	})
	return entries, err
}

func (m mount) Space(name string) (s durable.Space, err error) {
	err = m.around(faultfs.OpSpace, name, func() error {
		s, err = m.host.Space(name)
		return err
	})
	return s, err
}

type handle struct {
	durable.File
	m    mount
	name string
}

func (h handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.m.around(faultfs.OpRead, h.name, func() error {
		n, err = h.File.ReadAt(b, off)
		if h.m.spoil.read != nil {
			h.m.spoil.read(h.m.p, h.name, b[:n])
		}
		return err
	})
	return n, err
}

func (h handle) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.m.around(faultfs.OpWrite, h.name, func() error {
		n, err = h.File.WriteAt(b, off)
		if err == nil {
			h.m.p.wrote(h.name, b)
		}
		return err
	})
	return n, err
}

func (h handle) Datasync() error {
	if h.m.spoil.sync != nil && h.m.spoil.sync(h.m.p, h.name) {
		return nil
	}
	return h.m.around(faultfs.OpSync, h.name, h.File.Datasync)
}

func (h handle) Close() error {
	return h.m.around(faultfs.OpClose, h.name, h.File.Close)
}

// nowhere takes what is written to it.
type nowhere struct{}

func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, fs.ErrInvalid }
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nowhere) Datasync() error                        { return nil }
func (nowhere) Size() (int64, error)                   { return 0, nil }
func (nowhere) Close() error                           { return nil }
func isHeartbeat(name string) bool                     { return path.Base(name) == "heartbeat" }
func isFence(name string) bool                         { return path.Base(name) == "fence" }
