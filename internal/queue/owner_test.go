package queue

import (
	"math"
	"os"
	"os/exec"
	"testing"
)

// TestDeadOnlyWhereThisHostCanTell: a process that is taken for dead too early
// loses its lane; in doubt the heartbeat decides.
func TestDeadOnlyWhereThisHostCanTell(t *testing.T) {
	self, err := thisProcess("01JK0000000000000000000001")
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *owner)
		dead   bool
	}{
		"itself":                  {func(*owner) {}, false},
		"another run of this pid": {func(o *owner) { o.PIDStart++ }, true},
		"a process that ended":    {func(o *owner) { o.PID = gone.Process.Pid }, true},
		"a pid that cannot be":    {func(o *owner) { o.PID = math.MaxInt32 }, true},
		"another host":            {func(o *owner) { o.Host += "2"; o.PID = gone.Process.Pid }, false},
		"before the last boot":    {func(o *owner) { o.BootID = "other"; o.PID = gone.Process.Pid }, false},
		"another container":       {func(o *owner) { o.PIDNamespace = "pid:[1]"; o.PID = gone.Process.Pid }, false},
		"no pid":                  {func(o *owner) { o.PID = 0 }, false},
		"a negative pid":          {func(o *owner) { o.PID = -1 }, false},
		"nothing is known":        {func(o *owner) { *o = owner{} }, false},
	} {
		o := self
		c.change(&o)
		if got := o.deadFor(self); got != c.dead {
			t.Errorf("%s: dead %v, want %v", name, got, c.dead)
		}
	}
}
