package queue

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// ground is a disk that says what it is.
type ground struct {
	*faultfs.FS
	support durable.Support
	asked   []string
}

func (s *ground) Support(dir string) (durable.Support, error) {
	s.asked = append(s.asked, dir)
	if !durable.Exists(s.FS, dir) {
		return durable.Support{}, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return s.support, nil
}

func TestFileSystemIsLookedAt(t *testing.T) {
	refused := durable.Support{Type: "tmpfs", Mount: "/run", Verdict: durable.Refused, Reasons: []string{"it is gone"}}
	remarked := durable.Support{Type: "nfs4", Verdict: durable.Remarked, Reasons: []string{"slow takeovers"}, Notes: []string{"ask the server"}}
	sound := durable.Support{Type: "ext4", Verdict: durable.Supported, FillsZero: true}
	for _, x := range []struct {
		name     string
		support  durable.Support
		unsafe   bool
		zeroFill string
		refused  bool
		logged   []string
		fills    bool
	}{
		{"refused", refused, false, "auto", true, nil, false},
		{"refused and overridden", refused, true, "auto", false, []string{"level=ERROR", "it is gone"}, false},
		{"remarked", remarked, false, "auto", false, []string{"level=WARN", "slow takeovers", "ask the server"}, false},
		{"sound", sound, false, "auto", false, nil, true},
		{"sound, never filled", sound, false, "never", false, nil, false},
		{"remarked, always filled", remarked, false, "always", false, []string{"level=WARN"}, true},
	} {
		disk := &ground{FS: faultfs.New(1), support: x.support}
		var log bytes.Buffer
		opts := DefaultOptions()
		opts.Dir, opts.UnsafeFileSystem, opts.ZeroFill, opts.SegmentBytes = "/q", x.unsafe, x.zeroFill, minSegmentBytes
		q, err := Open(opts, Deps{FS: disk, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if x.refused {
			if !errors.Is(err, errUnsafe) || !strings.Contains(err.Error(), "it is gone") || !strings.Contains(err.Error(), "unsafe_file_system") {
				t.Errorf("%s: %v", x.name, err)
			}
			if durable.Exists(disk.FS, "/q") {
				t.Errorf("%s: something was made", x.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		for _, want := range x.logged {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: %q is not in the log:\n%s", x.name, want, &log)
			}
		}
		if len(x.logged) == 0 && strings.Contains(log.String(), "file system") {
			t.Errorf("%s: the log speaks of it:\n%s", x.name, &log)
		}
		if s := q.Status().FileSystem; s.Type != x.support.Type || s.Verdict != x.support.Verdict || q.zeroFill != x.fills {
			t.Errorf("%s: %+v, zero-filled %v", x.name, s, q.zeroFill)
		}
		if len(disk.asked) != 2 || disk.asked[0] != "/q" || disk.asked[1] != "/" {
			t.Errorf("%s: looked at %v", x.name, disk.asked)
		}
		if err := q.Close(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

func TestFileSystemThatCannotBeLookedAt(t *testing.T) {
	disk := &ground{FS: faultfs.New(1)}
	opts := DefaultOptions()
	opts.Dir = "/missing/q"
	if _, err := Open(opts, Deps{FS: disk}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
