package queue_test

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

const goldenDirectory = "testdata/golden/queue.v1"

// goldenValues are in the directory's two lanes; the first two are settled.
var goldenValues = []string{"one", "two", "three", "four", "five"}

var goldenMarks = []message.Mark{{Topic: "messages", Partition: 3, Offset: 77}}

// makeGoldenDirectory writes a directory of two lanes of one process, claimed and
// forwarded in part, and gives its owner a name that is nobody's.
func makeGoldenDirectory(t *testing.T) {
	disk, l := faultfs.New(1), newLedger()
	t.Cleanup(func() { copyOut(t, disk, "queue") }) // runs after the queue is closed
	q := started(t, disk, nil)
	_ = l.append(t.Context(), q, goldenValues[0])
	_ = l.append(t.Context(), q, goldenValues[1:3]...)
	disk.When(faultfs.Match{Kind: faultfs.OpWrite, Name: "*.seg"}, faultfs.FailBefore(syscall.EIO))
	_ = l.append(t.Context(), q, "not kept")
	_ = l.append(t.Context(), q, goldenValues[3:]...)
	wait(5 * time.Second)
	c := claim(t, q)
	p := upTo(drain(t, c, 2))
	p.Marks, p.Partitions = goldenMarks, map[string]int32{"messages": 8}
	if err := c.Save(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// copyOut writes what is below a directory to the golden files.
func copyOut(t *testing.T, disk *faultfs.FS, dir string) {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			copyOut(t, disk, name)
			continue
		}
		b, err := durable.ReadFile(disk, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		var text map[string]any
		if json.Unmarshal(b, &text) == nil {
			owner := text["owner"].(map[string]any)
			owner["host"], owner["boot_id"], owner["pid_namespace"], owner["pid"] = "gateway-1", "1b4e28ba-2fa1-41d2-883f-0016d3cca427", "pid:[1]", 1
			if b, err = json.Marshal(text); err != nil {
				t.Fatal(err)
			}
		}
		to := filepath.Join(goldenDirectory, filepath.FromSlash(name[len("queue/"):]))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoldenDirectory opens a directory as this format's first version left it.
func TestGoldenDirectory(t *testing.T) {
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.RemoveAll(goldenDirectory); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, makeGoldenDirectory)
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(goldenDirectory, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(goldenDirectory, name)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		write(t, disk, "queue", files)
		q := started(t, disk, nil)
		for {
			c := claim(t, q)
			if len(c.Progress().Marks) == 0 { // this process's own
				defer c.Release(t.Context())
				continue
			}
			p := c.Progress()
			if !reflect.DeepEqual(p.Marks, goldenMarks) || p.Partitions["messages"] != 8 || len(p.Lanes) != 2 || p.Lanes[0].Next != 3 || p.Lanes[1].Next != 1 {
				t.Errorf("progress %+v", p)
			}
			msgs, err := drainChain(c, true)
			if err != nil {
				t.Fatal(err)
			}
			if got := values(msgs); !slices.Equal(got, goldenValues[2:]) {
				t.Errorf("drained %q, want %q", got, goldenValues[2:])
			}
			for _, m := range msgs {
				want := msg(string(m.Value))
				if !reflect.DeepEqual(m.Message, want) {
					t.Errorf("read %+v, want %+v", m.Message, want)
				}
			}
			return
		}
	})
}
