package hosts

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// container is a service of the compose file as a process of this machine.
type container struct {
	service
	process       *process
	listen, admin string
}

// Services are started with their own commands and settings, but for addresses and
// the queue's directory. What is posted at the door is read from a stream node, also
// once the other stamp has died; and all of them end in order in the time they have.
func TestComposeRuns(t *testing.T) {
	t.Parallel() // both wait for drains
	c := readCompose(t, composeSource(t))
	brokers, queue := hub(t), filepath.Join(t.TempDir(), "queue")
	all := make(map[string]*container)
	for name, s := range c.Services {
		free := addresses(t, 2)
		all[name] = &container{service: s, listen: free[0], admin: free[1]}
	}
	for name, k := range all {
		k.process = start(t, name, composed(t, c, all, name, queue, brokers)...)
	}
	for _, k := range all {
		ready(t, k.process, k.admin)
	}
	door := all["door"]
	accepted(t, door.process, door.listen, "first")
	seen(t, door, all["stream-2"], "first")
	// It dies, and the other one goes on with what it has left.
	if err := all["stamp-1"].process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-all["stamp-1"].process.done
	accepted(t, door.process, door.listen, "second")
	seen(t, door, all["stream-1"], "second")
	// So do those who listen at the door once the other stamp's stream node has died.
	if err := all["stream-1"].process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-all["stream-1"].process.done
	seen(t, door, all["stream-2"], "second")
	delete(all, "stamp-1")
	delete(all, "stream-1")
	for _, k := range all {
		k.process.tell(t, syscall.SIGTERM)
	}
	for _, k := range all {
		grace, err := time.ParseDuration(k.Grace)
		if err != nil {
			t.Fatal(err)
		}
		k.process.ends(t, grace)
	}
}

// composed is the command of a service. Names of other services become addresses.
func composed(t *testing.T, c compose, all map[string]*container, name, queue, brokers string) []string {
	t.Helper()
	k := all[name]
	config := k.Configs[0]
	text := regexp.MustCompile(`http://([a-z]+-\d):\d+`).ReplaceAllStringFunc(c.Configs[config.Source].Content, func(url string) string {
		other, ok := all[regexp.MustCompile(`[a-z]+-\d`).FindString(url)]
		if !ok {
			t.Fatalf("%s names %s, and there is no such service", name, url)
		}
		return "http://" + other.listen
	})
	var args []string
	for key := range k.Environment {
		args = []string{"env", key + "=" + brokers}
	}
	args = append(args, built.Path(t))
	for _, a := range k.Command {
		args = append(args, strings.Replace(a, config.Target, written(t, "settings.yaml", text), 1))
	}
	set := []string{"http.listen=" + k.listen, "admin.listen=" + k.admin}
	if len(k.Volumes) > 0 {
		set = append(set, "queue.dir="+queue)
	}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	return args
}

// seen waits until a stream node shows a message to whoever asks for what there was.
func seen(t *testing.T, door, node *container, text string) {
	t.Helper()
	for _, k := range []*container{node, door} {
		await(t, k.process, text, func(ctx context.Context) error {
			return shows(ctx, "http://"+k.listen+"/v1/topics/messages/stream?key=a", text)
		})
	}
}

// shows reads an event stream until the text comes, for a moment.
func shows(ctx context.Context, url, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := plain.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var got strings.Builder
	b := make([]byte, 4096)
	for {
		n, err := res.Body.Read(b)
		got.Write(b[:n])
		if strings.Contains(got.String(), text) {
			return nil
		}
		if err != nil {
			return errors.Join(errors.New(res.Status+": "+got.String()), err)
		}
	}
}
