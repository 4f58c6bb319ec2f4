package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

type compose struct {
	Services map[string]service
	Configs  map[string]struct{ Content string }
}

type service struct {
	Image       string
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	Security    []string `yaml:"security_opt"`
	Command     []string
	Configs     []struct{ Source, Target string }
	Volumes     []struct{ Type, Source, Target string }
	Grace       string `yaml:"stop_grace_period"`
	Memory      string `yaml:"mem_limit"`
	Restart     string
	Environment map[string]string
	Ports       []string
	Limits      struct {
		Files int `yaml:"nofile"`
	} `yaml:"ulimits"`
}

func readCompose(t *testing.T, source string) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(source), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) < 3 || len(c.Configs) < 3 {
		t.Fatalf("%d services, %d configs", len(c.Services), len(c.Configs))
	}
	return c
}

func composeSource(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deploy, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestComposeSettings(t *testing.T) {
	for name, c := range readCompose(t, composeSource(t)).Configs {
		settings(t, written(t, name+".yaml", c.Content))
	}
}

// careless returns what a service lacks that each of them should have. drains are how
// long the commands take to stop.
func careless(c compose, drains map[string]time.Duration) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for name, s := range c.Services {
		switch {
		case s.User != "65532:65532":
			say("%s runs as %q", name, s.User)
		case !s.ReadOnly:
			say("%s may write its own files", name)
		case !slices.Equal(s.CapDrop, []string{"ALL"}):
			say("%s keeps capabilities", name)
		case !slices.Contains(s.Security, "no-new-privileges:true"):
			say("%s may gain rights", name)
		case s.Restart != "always":
			say("%s is not started again", name)
		case s.Memory == "":
			say("%s may take all memory", name)
		case s.Image != "${POSTROAD_IMAGE:?the image, by digest}":
			say("%s runs %q", name, s.Image)
		case name != "door" && len(s.Ports) > 0:
			say("%s has a port of the machine", name)
		case len(s.Configs) != 1 || !slices.Contains(s.Command, s.Configs[0].Target) || c.Configs[s.Configs[0].Source].Content == "":
			say("%s reads no settings that there are", name)
		case strings.HasPrefix(name, "stamp") && (len(s.Volumes) != 1 || s.Volumes[0].Type != "bind" || !strings.Contains(s.Volumes[0].Source, ":?")):
			say("%s keeps its queue where nobody said", name)
		}
		if d, err := time.ParseDuration(s.Grace); err != nil || d < drains[s.Command[0]] {
			say("%s is given %q to stop", name, s.Grace)
		}
		if s.Limits.Files < 65536 {
			say("%s may open %d files", name, s.Limits.Files)
		}
	}
	return found
}

// least is how long a process may take to stop with these settings, which are asked
// for as the program reads them.
func least(t *testing.T, command, path string, args ...string) time.Duration {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), built.Path(t), append([]string{"config", "print", "--config", path}, args...)...).Output()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	type drain struct{ Timeout string }
	var s struct {
		HTTP struct {
			Delay    string `yaml:"drain_delay"`
			Shutdown string `yaml:"shutdown_timeout"`
		}
		Forward struct {
			Drain string `yaml:"drain_timeout"`
		}
		Stream, Door struct{ Drain drain }
	}
	if err := yaml.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	sum := time.Duration(0)
	for _, text := range map[string][]string{
		"stamp": {s.HTTP.Delay, s.HTTP.Shutdown, s.Forward.Drain}, "gateway": {s.HTTP.Delay, s.HTTP.Shutdown}, "forward": {s.Forward.Drain},
		"stream": {s.HTTP.Delay, s.Stream.Drain.Timeout, "10s"}, "door": {s.HTTP.Delay, s.HTTP.Shutdown, s.Door.Drain.Timeout},
	}[command] {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s of %s: %v", command, path, err)
		}
		sum += d
	}
	if sum == 0 {
		t.Fatalf("%s takes no time to stop", command)
	}
	return sum
}

func TestCompose(t *testing.T) {
	source := composeSource(t)
	drains := make(map[string]time.Duration)
	for name, c := range readCompose(t, source).Configs {
		drains[name] = least(t, name, written(t, name+".yaml", c.Content))
	}
	for _, p := range careless(readCompose(t, source), drains) {
		t.Error(p)
	}
	for _, row := range []struct{ was, is string }{
		{"65532:65532\"\n", "0:0\"\n"},
		{"read_only: true", "read_only: false"},
		{"cap_drop: [ALL]", "cap_drop: []"},
		{"no-new-privileges:true", "no-new-privileges:false"},
		{"restart: always", "restart: 'no'"},
		{"mem_limit: 1g", "mem_limit: ''"},
		{"${POSTROAD_IMAGE:?the image, by digest}", "postroad:latest"},
		{"target: /etc/postroad/stamp.yaml", "target: /etc/other.yaml"},
		{"{source: door,", "{source: doors,"},
		{"type: bind", "type: volume"},
		{"stop_grace_period: 40s", "stop_grace_period: 20s"},
		{"stop_grace_period: 70s", "stop_grace_period: 50s"},
		{"stop_grace_period: 60s", "stop_grace_period: 20s"},
		{"ulimits: {nofile: 65536}", "ulimits: {nofile: 1024}"},
		{"  stamp-2:\n", "  stamp-2:\n    ports: [\"8081:8081\"]\n"},
	} {
		changed := strings.Replace(source, row.was, row.is, 1)
		if changed == source {
			t.Errorf("no %q", row.was)
		} else if len(careless(readCompose(t, changed), drains)) == 0 {
			t.Errorf("nothing is wrong with %q", row.is)
		}
	}
}

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
