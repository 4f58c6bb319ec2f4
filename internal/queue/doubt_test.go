package queue

import (
	"math"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// TestWhoseRequestsMayStillLand: a successor that does not wait for a former
// holder's last requests sends messages twice; one that waits for a dead one's
// leaves its chain unread for ten seconds.
func TestWhoseRequestsMayStillLand(t *testing.T) {
	self, err := thisProcess("01JK0000000000000000000001")
	if err != nil {
		t.Fatal(err)
	}
	gone := self
	gone.PID = math.MaxInt32
	for _, c := range []struct {
		what     string
		epoch    uint64
		owner    owner
		doubtful bool
		saves    int
		note     string
		want     bool
	}{
		{what: "never claimed"},
		{what: "held by one that may live", epoch: 1, owner: self, saves: 1, want: true},
		{what: "held by one that is dead", epoch: 1, owner: gone, saves: 1},
		{what: "held by nobody knows whom", epoch: 1, want: true},
		{what: "revoked from one that may live, by one that died then", epoch: 1, owner: self, saves: 1, note: noteRevoked + " by process x", want: true},
		{what: "revoked from one that is dead, by one that died then", epoch: 1, owner: gone, saves: 1, note: noteRevoked + " by process x"},
		{what: "released", epoch: 1, owner: self, saves: 1, note: noteReleased + " by process x"},
		{what: "drained", epoch: 1, owner: self, saves: 1, note: noteDrained + " by process x"},
		{what: "released by one that did not wait", epoch: 1, owner: gone, doubtful: true, saves: 1, note: noteDoubtful + " by process x", want: true},
		{what: "held by one that died while it waited", epoch: 2, owner: gone, doubtful: true, saves: 1, want: true},
		{what: "held by one that died before its claim was whole", epoch: 2, owner: gone, doubtful: true, want: true},
		{what: "held by one that died once it had waited", epoch: 2, owner: gone, doubtful: true, saves: 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			fsys := faultfs.New(1)
			q := &Queue{self: self, at: layout{"queue"}, deps: Deps{FS: fsys}}
			saveTimes(t, q, c.epoch, c.saves)
			last := standing{epoch: c.epoch, note: c.note, info: claimInfo{Chain: "chain", Owner: c.owner, Doubtful: c.doubtful}}
			if got := q.mayLive(last); got != c.want {
				t.Errorf("a request may be under way: %v, want %v", got, c.want)
			}
		})
	}
}

// saveTimes leaves the progress file of an epoch that was saved so often, the
// first time when it was made.
func saveTimes(t *testing.T, q *Queue, epoch uint64, times int) {
	t.Helper()
	if times == 0 {
		return
	}
	if err := durable.MkdirAll(q.deps.FS, q.at.chain("chain")); err != nil {
		t.Fatal(err)
	}
	f, err := createProgress(q.deps.FS, q.at.claimFile("chain", progressKind, epoch), message.Progress{})
	for i := 1; i < times && err == nil; i++ {
		err = f.save(message.Progress{})
	}
	if err == nil {
		err = f.close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
