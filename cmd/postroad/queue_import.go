package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postroad/internal/gateway"
	"postroad/internal/message"
)

type queueImport struct {
	queueDir
	writeFlags
	Src string `arg:"" help:"Directory with a file for each message, *.json." placeholder:"SRC"`

	Topic     string `help:"Topic of the messages (${default_topic})." short:"t" default:"${default_topic}"`
	Value     string `help:"Form of the stored value, as classic.value of the stamp: json or lines." default:"json" placeholder:"FORM"`
	Principal string `help:"Name under which they are stored, as principal of the stamp." default:"anonymous"`
	Remove    bool   `help:"Remove what was stored, instead of moving it to SRC/imported."`
	DryRun    bool   `help:"Say what would be imported, and do nothing." short:"n"`
	JSON      bool   `help:"One JSON object with what was done."`
}

// Help says what a file holds, and what happens to it.
func (c *queueImport) Help() string {
	return `A file holds the sender in its first line and the value in the rest, or a JSON object {"senderId","value"} in any letter case. Each becomes the message that POST /ServiceAPI/message would make of it, in order of the files' times, then names.

A file is moved, or removed, once its message is on stable storage. Interrupted, the command can be run again: a file that was stored and not moved is stored once more under the same dedupe id, and readers show it once. Files that cannot be read as a message are named, left where they are, and make exit code 1.`
}

// importedDir is where files go that were stored.
const importedDir = "imported"

// Run imports a directory.
func (c *queueImport) Run(ctx context.Context, std streams) (err error) {
	to := c.store(c.Dir, std)
	defer func() { err = errors.Join(err, to.close()) }()
	im, err := c.importer(to)
	if err != nil {
		return err
	}
	err = im.run(ctx)
	if c.JSON {
		err = errors.Join(printLine(std.out, im.done), err)
	} else {
		for _, bad := range im.done.Bad {
			fmt.Fprintf(std.out, "%s: %s\n", text(bad.File), text(bad.Reason))
		}
		did := "imported"
		if c.DryRun {
			did = "would import"
		}
		fmt.Fprintf(std.out, "%s %s to topic %s\n", did, messages(int64(im.done.Imported)), c.Topic)
	}
	if n := len(im.done.Bad); err == nil && n > 0 {
		err = fmt.Errorf("%s left", noun(int64(n), "file"))
	}
	return err
}

func (c *queueImport) importer(to gateway.Store) (*importer, error) {
	info, err := os.Stat(c.Src)
	switch {
	case err != nil:
		return nil, usagef("%w", err)
	case !info.IsDir():
		return nil, usagef("%s is no directory", c.Src)
	}
	opts := gateway.DefaultOptions()
	opts.Classic.Topic, opts.Classic.Value, opts.Principal = c.Topic, c.Value, c.Principal
	opts.Batch.MaxBytes = 8 * importFileLimit // a value of many quotes is longer as JSON
	opts.Overload.MaxBytes = 4 * int64(opts.Batch.MaxBytes)
	if err := opts.Validate(); err != nil {
		return nil, usagef("%w", err)
	}
	im := &importer{src: c.Src, remove: c.Remove, dry: c.DryRun, to: to}
	im.done = imported{Topic: c.Topic, Bad: []badFile{}, DryRun: c.DryRun}
	if im.classic, err = newClassicCall(opts); err != nil {
		return nil, err
	}
	return im, nil
}

// imported is what an import did, for --json.
type imported struct {
	Topic    string    `json:"topic"`
	Imported int       `json:"imported"`
	Bad      []badFile `json:"bad"`
	DryRun   bool      `json:"dry_run,omitempty"`
}

type badFile struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// importer stores the files of a directory, some with each sync.
type importer struct {
	src     string
	remove  bool
	dry     bool
	to      gateway.Store
	classic *classicCall
	done    imported
	// files and msgs are what the next sync is for.
	files []importFile
	msgs  []message.Message
	size  int
}

// importFile is a file as it was when it was listed.
type importFile struct {
	name  string
	bytes int64
	time  time.Time
}

// How much is stored with one sync, and the largest file, in bytes.
const (
	importMessages  = 500
	importBytes     = 4 << 20
	importFileLimit = 8 << 20
)

func (im *importer) run(ctx context.Context) error {
	files, err := im.list()
	if err != nil {
		return err
	}
	for _, f := range files {
		if ctx.Err() != nil {
			return errors.Join(errStopped, im.flush(context.WithoutCancel(ctx)))
		}
		m, err := im.message(ctx, f)
		if err != nil {
			im.bad(f.name, err.Error())
			continue
		}
		im.files, im.msgs, im.size = append(im.files, f), append(im.msgs, m), im.size+m.Size()
		if len(im.msgs) == importMessages || im.size >= importBytes {
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
	}
	return im.flush(ctx)
}

func (im *importer) bad(name, reason string) {
	im.done.Bad = append(im.done.Bad, badFile{name, reason})
}

// list lists the files in the order in which they were written.
func (im *importer) list() ([]importFile, error) {
	entries, err := os.ReadDir(im.src)
	if err != nil {
		return nil, err
	}
	var files []importFile
	for _, e := range entries {
		if e.IsDir() || !strings.EqualFold(filepath.Ext(e.Name()), ".json") {
			continue
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			im.bad(e.Name(), err.Error())
		case !info.Mode().IsRegular():
			im.bad(e.Name(), "no regular file")
		default:
			files = append(files, importFile{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b importFile) int {
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.name, b.name))
	})
	return files, nil
}

// message makes the message of a file.
func (im *importer) message(ctx context.Context, f importFile) (message.Message, error) {
	if f.bytes > importFileLimit {
		return message.Message{}, fmt.Errorf("%d bytes; at most %d", f.bytes, importFileLimit)
	}
	b, err := os.ReadFile(filepath.Join(im.src, f.name))
	if err != nil {
		return message.Message{}, err
	}
	if !im.unchanged(f) || int64(len(b)) != f.bytes {
		return message.Message{}, errors.New("it is being written")
	}
	return im.classic.message(ctx, f.name, b)
}

// unchanged reports whether the file is as it was listed.
func (im *importer) unchanged(f importFile) bool {
	info, err := os.Lstat(filepath.Join(im.src, f.name))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.bytes && info.ModTime().Equal(f.time)
}

// flush makes what was gathered durable, and then moves the files away.
func (im *importer) flush(ctx context.Context) error {
	if len(im.msgs) == 0 {
		return nil
	}
	files, msgs := im.files, im.msgs
	im.files, im.msgs, im.size = nil, nil, 0
	if !im.dry {
		if _, err := im.to.Append(ctx, msgs); err != nil {
			return fmt.Errorf("store %s, from %s on: %w", messages(int64(len(msgs))), files[0].name, err)
		}
	}
	im.done.Imported += len(msgs)
	if im.dry {
		return nil
	}
	for _, f := range files {
		if err := im.away(f); err != nil {
			im.bad(f.name, "stored, and left here: "+err.Error())
		}
	}
	return nil
}

// away moves a stored file, or removes it.
func (im *importer) away(f importFile) error {
	name := filepath.Join(im.src, f.name)
	if !im.unchanged(f) {
		return errors.New("it was changed meanwhile")
	}
	if im.remove {
		return os.Remove(name)
	}
	dir := filepath.Join(im.src, importedDir)
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	to := filepath.Join(dir, f.name)
	for n := 1; ; n++ { // never over another of that name
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(name, to)
		}
		to = filepath.Join(dir, fmt.Sprintf("%s.%d", f.name, n))
	}
}
