package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
}

// Claim waits until a chain wants a forwarder and takes the exclusive right to
// drain it. It returns ctx.Err() when ctx ends, and the errors of the file
// system; calling again tries again.
func (q *Queue) Claim(ctx context.Context) (*Claim, error) {
	if ctx.Err() != nil { // or the select below might hand out what was just released
		return nil, ctx.Err()
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case c := <-q.claimable:
		claim, err := q.acquire(c)
		if err != nil {
			q.offer(c)
			return nil, fmt.Errorf("claim %s: %w", c.id, err)
		}
		return claim, nil
	}
}

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

// released is called once when a claim was given up. A chain of which anything
// is not settled is offered again, even where all of it was handed out.
func (q *Queue) released(c *chain) {
	c.mu.Lock()
	c.drained = c.over && !slices.ContainsFunc(c.lanes, func(l *lane) bool { return !l.done() })
	drained := c.drained
	c.mu.Unlock()
	if !drained {
		q.offer(c)
	}
}

// acquire takes the claim of the epoch after the last one there is. The last
// one's revocation is filled and synced first, so that its holder, should it
// live, learns of it at its next checkpoint. Whether that holder may be revoked
// was decided before: its process is dead, or it is this one and has released.
func (q *Queue) acquire(c *chain) (*Claim, error) {
	if err := durable.MkdirAll(q.deps.FS, q.at.chain(c.id)); err != nil {
		// Not left for the next attempt, whose sync could report success for
		// a name that is not durable. What holds claims is not removed by this.
		_ = q.deps.FS.Remove(q.at.chain(c.id))
		return nil, err
	}
	epochs, err := q.epochs(c.id)
	if err != nil {
		return nil, err
	}
	progress, from, err := q.lastProgress(c.id, epochs)
	if err != nil {
		return nil, err
	}
	epoch := uint64(1)
	if n := len(epochs); n > 0 {
		last := epochs[n-1].number
		epoch = last + 1
		if err := q.revoke(c.id, last, "revoked by process "+q.self.Process); err != nil {
			return nil, err
		}
	}
	if err := q.writeClaim(c.id, epoch); err != nil {
		return nil, err
	}
	file, err := createProgress(q.deps.FS, q.at.claimFile(c.id, "progress", epoch), c.complete(progress))
	if err != nil {
		return nil, fmt.Errorf("progress of epoch %d: %w", epoch, err)
	}
	c.settle(progress) // not before it is on stable storage
	q.dropEpochs(c.id, epochs, from)
	return &Claim{chain: c, epoch: epoch, progress: c.complete(progress), file: file, read: make(map[*lane]bool)}, nil
}

// dropEpochs removes what the epochs before one have left, whose progress the
// newest one began with: a chain that is claimed again and again for weeks would
// fill the disk. An error costs only room.
func (q *Queue) dropEpochs(chain string, epochs []epoch, before uint64) {
	for _, e := range epochs {
		if e.number >= before {
			return
		}
		for _, kind := range []string{"claim", "revoked", "progress"} {
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
// has sent nothing that the epoch before it does not lead to again.
func (q *Queue) lastProgress(chain string, epochs []epoch) (message.Progress, uint64, error) {
	for _, e := range slices.Backward(epochs) {
		if !e.claimed {
			continue
		}
		epoch := e.number
		p, err := loadProgress(q.deps.FS, q.at.claimFile(chain, "progress", epoch))
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

// writeClaim creates claim and revocation of an epoch and reads the claim back:
// on a share a create whose reply was lost looks as if another had been first.
func (q *Queue) writeClaim(chain string, epoch uint64) error {
	info := claimInfo{
		Format: laneFormat, Chain: chain, Epoch: epoch, Token: ulid.Make().String(),
		Claimed: q.deps.Now().UTC(), Owner: q.self,
	}
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	name := q.at.claimFile(chain, "claim", epoch)
	wrote := durable.WriteNew(q.deps.FS, name, append(text, '\n'))
	if wrote != nil && !errors.Is(wrote, fs.ErrExist) {
		return fmt.Errorf("claim of epoch %d: %w", epoch, wrote)
	}
	back, err := durable.ReadFile(q.deps.FS, name, 1<<16)
	if err != nil {
		return fmt.Errorf("read back claim of epoch %d: %w", epoch, err)
	}
	var got claimInfo
	if err := json.Unmarshal(back, &got); err != nil || got.Token != info.Token {
		return fmt.Errorf("claim of epoch %d is another's: %w", epoch, message.ErrClaimLost)
	}
	return durable.WriteNew(q.deps.FS, q.at.claimFile(chain, "revoked", epoch), make([]byte, noteSize))
}

// revoke fills a claim's revocation and returns once it is durable. A claim
// whose revocation was never made (its maker died in between) gets one.
func (q *Queue) revoke(chain string, epoch uint64, reason string) error {
	name := q.at.claimFile(chain, "revoked", epoch)
	err := durable.Overwrite(q.deps.FS, name, note(reason))
	if missing(err) {
		err = durable.WriteNew(q.deps.FS, name, note(reason))
	}
	if err != nil {
		return fmt.Errorf("revoke claim of epoch %d: %w", epoch, err)
	}
	return nil
}
