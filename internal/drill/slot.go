package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// slot is one of the processes, through all its runs.
type slot struct {
	*share
	command string
	name    string
	rng     *rand.Rand
	// listen is the address of a gateway, the same in all its runs, so that its
	// clients find it again.
	listen string
	// p is the present run; nil where there is none.
	p *Process
}

// start starts a run of the slot.
func (s *slot) start(ctx context.Context) (err error) {
	settings := []string{
		"stamp.name=drill", "admin.listen=127.0.0.1:0", "queue.dir=" + filepath.Join(s.Dir, "queue"),
		"hub.brokers=" + s.hub.Addresses.Hub, "forward.save_interval=500ms",
	}
	if s.listen != "" {
		settings = append(settings, "http.listen="+s.listen)
	}
	if s.TTL > 0 {
		settings = append(settings, "queue.ttl="+s.TTL.String(), "queue.heartbeat_interval="+s.Heartbeat.String(),
			"queue.takeover_margin="+s.Margin.String())
	}
	args := []string{s.command}
	for _, set := range settings {
		args = append(args, "--set", set)
	}
	s.p, err = s.share.start(ctx, args...)
	return err
}

// kill kills the slot's process and says what it was doing; asleep while it is
// paused.
func (s *slot) kill(asleep bool) error {
	p := s.p
	s.p = nil
	if err := p.Kill(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	f, err := p.Flight()
	if err != nil {
		return err
	}
	if f.Closed {
		return fmt.Errorf("%s ended by itself:\n%s", s.name, p.LogTail())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Killed[s.command]++
	if f.Posts > 0 || f.Produces > 0 {
		s.report.Busy++
	}
	if f.SyncedUnanswered > 0 {
		s.report.Between++
	}
	if asleep {
		s.report.Asleep++
	}
	s.Logf("%s (%s) killed after %v: %d POSTs in flight, %d of them synced, %d produces%s", s.name, filepath.Base(p.log),
		time.Since(p.Started).Round(time.Millisecond), f.Posts, f.SyncedUnanswered, f.Produces, map[bool]string{true: ", while paused"}[asleep])
	return nil
}

// suffer lets one thing after the other happen to a slot.
func (s *slot) suffer(ctx context.Context) error {
	for !s.enough() {
		if err := s.pause(ctx, 2*s.death()); err != nil {
			return err
		}
		var err error
		switch roll := s.rng.IntN(10); {
		case roll < 6:
			err = s.kill(false)
		case roll < 9:
			// Long enough for a watch that begins late, or anew, to end.
			err = s.freeze(ctx, s.death()*5/4+time.Duration(s.rng.Int64N(int64(2*s.death()))))
		default:
			err = s.freeze(ctx, time.Duration(s.rng.Int64N(int64(s.death()))))
		}
		if err == nil && s.p == nil {
			if err = s.pause(ctx, s.death()/2); err == nil {
				err = s.start(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// freeze pauses the process for some time; a third of those that are paused
// past their death never wake.
func (s *slot) freeze(ctx context.Context, d time.Duration) error {
	if err := s.p.Pause(); err != nil {
		return err
	}
	if err := rest(ctx, d); err != nil {
		return errors.Join(err, s.p.Resume())
	}
	if d < s.death() {
		return s.p.Resume()
	}
	overtaken := false
	if s.command == "gateway" {
		var err error
		if overtaken, err = laneEnded(filepath.Join(s.Dir, "queue", "lanes"), s.p.PID()); err != nil {
			return errors.Join(err, s.p.Resume())
		}
	}
	s.mu.Lock()
	s.report.Paused++
	if overtaken {
		s.report.Overtaken++
	}
	s.mu.Unlock()
	if s.rng.IntN(3) == 0 {
		return s.kill(true)
	}
	s.Logf("%s (%s) wakes after %v", s.name, filepath.Base(s.p.log), d.Round(time.Millisecond))
	return s.p.Resume()
}

// pause waits for a random time of at most d.
func (s *slot) pause(ctx context.Context, d time.Duration) error {
	return rest(ctx, time.Duration(s.rng.Int64N(int64(d))))
}

// laneEnded reports whether the last lane of a process has been ended, by its
// fence. While the process is paused only another can have done it.
func laneEnded(lanes string, pid int) (bool, error) {
	files, err := filepath.Glob(filepath.Join(lanes, "*", "lane"))
	if err != nil {
		return false, err
	}
	slices.Sort(files) // by the time that the lanes were made
	for _, name := range slices.Backward(files) {
		text, err := os.ReadFile(name)
		if err != nil {
			return false, err
		}
		var lane struct {
			Owner struct {
				PID int `json:"pid"`
			} `json:"owner"`
		}
		if json.Unmarshal(text, &lane) != nil || lane.Owner.PID != pid {
			continue
		}
		fence, err := os.ReadFile(filepath.Join(filepath.Dir(name), "fence"))
		return len(bytes.Trim(fence, "\x00")) > 0, err
	}
	return false, nil
}
