package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// claimInfo is the content of a claim file.
type claimInfo struct {
	Format int    `json:"format"`
	Chain  string `json:"chain"`
	Epoch  uint64 `json:"epoch"`
	// Token tells a claim of one's own, whose create seemed to fail because
	// the reply was lost, from that of another.
	Token   string    `json:"token"`
	Claimed time.Time `json:"claimed"`
	Owner   owner     `json:"owner"`
	// Heartbeat names the holder's directory in processes/, whose heartbeat
	// tells whether it lives.
	Heartbeat string `json:"heartbeat,omitempty"`
	// Doubtful says that the holder of the claim before may live.
	Doubtful bool `json:"doubtful,omitempty"`
}

// errHeld says that somebody else holds a chain.
var errHeld = errors.New("another process holds the claim")

// Claim waits until a chain wants a forwarder and takes the exclusive right to
// drain it. It returns ctx.Err() when ctx ends, and the errors of the file
// system; calling again tries again.
func (q *Queue) Claim(ctx context.Context) (*Claim, error) {
	for {
		if ctx.Err() != nil { // or the select below might hand out what was just released
			return nil, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case c := <-q.claimable:
			claim, err := q.acquireOnBallast(c)
			if err == nil {
				return claim, nil
			}
			if errors.Is(err, errHeld) { // it was quicker: no hurry
				if pause(ctx, q.watchInterval()/10) {
					q.tendAgain(c)
					continue
				}
				err = ctx.Err()
			}
			q.offer(c)
			return nil, fmt.Errorf("claim %s: %w", c.id, err)
		}
	}
}

// Waiting reports whether a chain wants a forwarder now.
func (q *Queue) Waiting() bool { return len(q.claimable) > 0 }

// offer makes a chain claimable. The channel holds as many as there are chains.
func (q *Queue) offer(c *chain) {
	select {
	case q.claimable <- c:
	default:
		go func() { // more chains than ever expected: wait without holding anyone up
			select {
			case q.claimable <- c:
			case <-q.closing:
			}
		}()
	}
}

// tendLater is tendAgain after a while: by a list that is old the chain would
// look free again at once, and again, as long as the list is believed.
func (q *Queue) tendLater(c *chain) {
	q.tending.Go(func() {
		if ctx := q.running.Load(); ctx != nil && pause(*ctx, q.watchInterval()) {
			q.tendAgain(c)
		}
	})
}

// tendAgain has a chain looked after that is no longer held here.
func (q *Queue) tendAgain(c *chain) {
	c.mu.Lock()
	c.busy, c.held = false, false
	c.mu.Unlock()
	if ctx := q.running.Load(); ctx != nil && (*ctx).Err() == nil {
		q.lookAfter(*ctx, c)
	}
}

// acquire takes the claim of the epoch after the last one there is. fell is the
// claim whose holder was found dead; where another has come since, the error is
// errHeld.
//
// Order: the last claim's revocation is filled and synced, so that its holder,
// should it live, learns of it at its next checkpoint; only then its progress is
// read, since it counts until then; then the claim is made, which only one can.
func (q *Queue) acquire(c *chain, fell fallen) (_ *Claim, err error) {
	p := q.present.Load()
	if p == nil {
		return nil, errOverdue
	}
	if err := p.alive(); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(q.deps.FS, q.at.chain(c.id)); err != nil {
		// Not left for the next attempt, whose sync could report success for
		// a name that is not durable. What holds claims is not removed by this.
		_ = q.deps.FS.Remove(q.at.chain(c.id))
		return nil, err
	}
	last, err := q.standing(c.id)
	if err != nil {
		return nil, err
	}
	if last.held() && last.fallen() != fell {
		return nil, errHeld
	}
	claim := &Claim{chain: c, epoch: last.epoch + 1, present: p, read: make(map[*lane]bool)}
	// A claim of our own that did not come to an end is gone on with: on a full
	// disk each new one would take more of what is left.
	if last.held() && c.isUnfinished(last.info, p) {
		claim.epoch, claim.raw = last.epoch, string(last.raw)
	} else {
		c.doubt(q.mayLive(last))
		if err := q.endLast(c.id, last); err != nil {
			return nil, err
		}
	}
	progress, from, err := q.lastProgress(c.id, last.epochs, true)
	if err != nil {
		return nil, err
	}
	if err := q.namedSides(c, progress); err != nil {
		return nil, err
	}
	c.keepNamed(progress)
	if claim.epoch > last.epoch {
		if claim.raw, err = q.writeClaim(c, claim.epoch, p); err != nil {
			return nil, err
		}
	}
	if err := q.writeRevocation(c.id, claim.epoch); err != nil {
		if errors.Is(err, errHeld) { // a successor's, or cut short in a try of our own
			c.giveUp(fallen{claim.epoch, claim.raw})
		}
		return nil, err
	}
	if claim.file, err = q.writeProgress(c.id, claim.epoch, c.complete(progress)); err != nil {
		return nil, err
	}
	c.settle(progress) // not before it is on stable storage
	q.meetCarried(c)
	if err := q.endSides(c); err != nil {
		c.giveUp(fallen{claim.epoch, claim.raw})
		return nil, errors.Join(err, claim.file.close())
	}
	p.claims.Add(1)
	claim.progress, claim.doubtful = c.complete(progress), c.claimed()
	q.dropEpochs(c.id, last.epochs, from)
	return claim, nil
}

// mayLive reports whether requests of a former holder of the chain may still land
// in the hub. One that released the claim has none under way; of one that is known
// to be dead, whoever wrote its revocation, none is sent any more. A holder that
// ended before it had saved anything may not have waited for the one before it:
// its own doubt goes on. Saving is what it does once it has.
func (q *Queue) mayLive(last standing) bool {
	switch last.word() {
	case noteDoubtful:
		return true
	case noteReleased, noteDrained:
		return false
	}
	if last.epoch == 0 {
		return false
	}
	return !last.info.Owner.deadFor(q.self) || last.info.Doubtful && !q.hasSaved(last)
}

// hasSaved reports whether the holder of a claim saved anything after the
// progress that it began with.
func (q *Queue) hasSaved(s standing) bool {
	_, saves, err := readProgress(q.deps.FS, q.at.claimFile(s.info.Chain, "progress", s.epoch))
	return err == nil && saves > 1
}

// dropEpochs removes what the epochs before one have left, whose progress the
// newest one began with: a chain that is claimed again and again for weeks would
// fill the disk. The claims themselves stay as long as the chain does: to a
// process with an old list, a number that is free again would be a claim to be
// had. An error costs only room.
func (q *Queue) dropEpochs(chain string, epochs []epoch, before uint64) {
	for _, e := range epochs {
		if e.number >= before {
			return
		}
		for _, kind := range []string{"revoked", "progress"} {
			err := q.deps.FS.Remove(q.at.claimFile(chain, kind, e.number))
			if err != nil && !missing(err) {
				q.deps.Log.Warn("old claim not removed", "chain", chain, "epoch", e.number, "err", err)
				return
			}
		}
	}
}

// epoch is one of a chain's, of which some file exists.
type epoch struct {
	number uint64
	// claimed says that the claim does: without it progress does not count.
	claimed bool
}

// epochs lists the epochs of which any file exists, in order: after a power cut
// or an error the claim may be missing and others be there.
func (q *Queue) epochs(chain string) ([]epoch, error) {
	entries, err := q.deps.FS.ReadDir(q.at.chain(chain))
	if err != nil {
		return nil, err
	}
	claimed := make(map[uint64]bool)
	for _, e := range entries {
		kind, digits, _ := strings.Cut(e.Name(), ".")
		if kind != "claim" && kind != "revoked" && kind != "progress" {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
			claimed[n] = claimed[n] || kind == "claim"
		}
	}
	var epochs []epoch
	for _, n := range slices.Sorted(maps.Keys(claimed)) {
		epochs = append(epochs, epoch{n, claimed[n]})
	}
	return epochs, nil
}

// lastProgress reads the progress of the newest epoch that has a sound one, and
// tells which that is; 0 where none has. An epoch whose file was never finished
// has sent nothing that the epoch before it does not lead to again. sure has a
// file that seems to be missing be made certain of, which only he may ask for who
// is to claim the chain.
func (q *Queue) lastProgress(chain string, epochs []epoch, sure bool) (message.Progress, uint64, error) {
	for _, e := range slices.Backward(epochs) {
		if !e.claimed {
			continue
		}
		epoch := e.number
		p, err := q.progressOf(chain, epoch, sure)
		if err == nil {
			return p, epoch, nil
		}
		if !missing(err) && !errors.Is(err, errNoProgress) {
			return message.Progress{}, 0, fmt.Errorf("progress of epoch %d: %w", epoch, err)
		}
		q.deps.Log.Warn("epoch without progress, going back to the one before", "chain", chain, "epoch", epoch, "err", err)
	}
	return message.Progress{}, 0, nil
}

// progressOf reads the progress of an epoch. A host may remember for a minute that
// a name was not there; so sure makes the file where it seems to be missing, which
// succeeds only where it is, and leaves it without a sound slot.
func (q *Queue) progressOf(chain string, epoch uint64, sure bool) (message.Progress, error) {
	name := q.at.claimFile(chain, "progress", epoch)
	p, err := loadProgress(q.deps.FS, name)
	if !sure || !missing(err) {
		return p, err
	}
	f, made := q.deps.FS.Create(name)
	switch {
	case made == nil:
		return p, errors.Join(f.Close(), fmt.Errorf("%s: %w", name, errNoProgress))
	case !errors.Is(made, fs.ErrExist):
		return p, fmt.Errorf("make sure that it is missing: %w", made)
	}
	if p, err = loadProgress(q.deps.FS, name); missing(err) {
		err = errors.New("it is there and cannot be opened yet")
	}
	return p, err
}

// writeClaim creates the claim of an epoch and reads it back, in case the file
// system's exclusive create is none. One whose create's answer was lost looks as
// if another had been first: it is empty, and void in time.
func (q *Queue) writeClaim(c *chain, epoch uint64, p *presence) (raw string, err error) {
	info := claimInfo{
		Format: laneFormat, Chain: c.id, Epoch: epoch, Token: ulid.Make().String(),
		Claimed: q.deps.Now().UTC(), Owner: q.self, Heartbeat: p.id, Doubtful: c.inDoubt(),
	}
	text, err := json.Marshal(info)
	if err != nil {
		return "", err
	}
	text = append(text, '\n')
	name := q.at.claimFile(c.id, "claim", epoch)
	f, err := q.deps.FS.Create(name)
	if errors.Is(err, fs.ErrExist) {
		// The list that it is missing from is old. Where a client drops what it has
		// cached of a directory that it changes itself, the next list is not.
		_ = q.deps.FS.Touch(q.at.chain(c.id))
		return "", fmt.Errorf("claim of epoch %d: %w", epoch, errHeld)
	}
	if err == nil {
		q.touchLater(q.at.chain(c.id))
		c.setUnfinished(info)
		_, err = f.WriteAt(text, 0)
		if err == nil {
			err = f.Datasync()
		}
		err = errors.Join(err, f.Close())
		if err == nil {
			err = q.deps.FS.SyncDir(q.at.chain(c.id))
		}
		if err != nil { // it is ours, and nobody can have taken it for more than a claim in the making
			err = errors.Join(err, q.deps.FS.Remove(name))
		}
	}
	if err != nil {
		return "", fmt.Errorf("claim of epoch %d: %w", epoch, err)
	}
	back, err := durable.ReadFile(q.deps.FS, name, 1<<16)
	if err != nil {
		return "", fmt.Errorf("read back claim of epoch %d: %w", epoch, err)
	}
	if got := (claimInfo{}); json.Unmarshal(back, &got) != nil || got.Token != info.Token {
		return "", fmt.Errorf("claim of epoch %d: %w", epoch, errHeld)
	}
	return string(text), nil
}

// writeRevocation makes the file that a successor fills, of an epoch that this
// process has claimed. One that is there and all zero is ours, made in a try
// that failed or whose answer was lost: a successor's says something, or is cut
// short.
func (q *Queue) writeRevocation(chain string, epoch uint64) error {
	name := q.at.claimFile(chain, "revoked", epoch)
	err := durable.WriteNew(q.deps.FS, name, make([]byte, noteSize))
	if errors.Is(err, fs.ErrExist) {
		var empty bool
		empty, err = allZero(q.deps.FS, name)
		if errors.Is(err, errCutShort) || err == nil && !empty {
			return fmt.Errorf("claim of epoch %d was revoked at once: %w", epoch, errHeld)
		}
		if err == nil {
			err = q.syncAsIs(name)
		}
	}
	if err != nil {
		return fmt.Errorf("revocation of epoch %d: %w", epoch, err)
	}
	return nil
}

// syncAsIs makes a file durable that is there, and its name, without writing to
// it: a successor may be doing just that.
func (q *Queue) syncAsIs(name string) error {
	f, err := q.deps.FS.OpenWrite(name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Datasync(), f.Close()); err != nil {
		return err
	}
	return q.deps.FS.SyncDir(path.Dir(name))
}

// writeProgress makes the progress file of an epoch that this process has
// claimed. What stands there under its name is a try of its own that failed.
func (q *Queue) writeProgress(chain string, epoch uint64, first message.Progress) (*progressFile, error) {
	name := q.at.claimFile(chain, "progress", epoch)
	file, err := createProgress(q.deps.FS, name, first)
	if errors.Is(err, fs.ErrExist) {
		if err := q.deps.FS.Remove(name); err != nil && !missing(err) {
			return nil, fmt.Errorf("old progress of epoch %d: %w", epoch, err)
		}
		file, err = createProgress(q.deps.FS, name, first)
	}
	if err != nil {
		return nil, fmt.Errorf("progress of epoch %d: %w", epoch, err)
	}
	return file, nil
}

// endLast fills the revocation of the last claim there is and returns once it is
// durable, whatever it said before: its words may not be. A claim whose
// revocation was never made (its maker died in between) gets one that says so,
// which its maker, should it live, finds in its way.
func (q *Queue) endLast(chain string, last standing) error {
	if last.epoch == 0 {
		return nil
	}
	text := last.note
	if text == "" {
		text = noteRevoked + " by process " + q.self.Process
	}
	return q.noteEnd(chain, last.epoch, text)
}

// noteEnd writes why a claim has ended.
func (q *Queue) noteEnd(chain string, epoch uint64, text string) error {
	name := q.at.claimFile(chain, "revoked", epoch)
	err := durable.Overwrite(q.deps.FS, name, note(text))
	if missing(err) {
		err = durable.WriteNew(q.deps.FS, name, note(text))
	}
	if err != nil {
		return fmt.Errorf("revoke claim of epoch %d: %w", epoch, err)
	}
	return nil
}
