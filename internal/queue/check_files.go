package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"

	"postroad/internal/message"
)

// checkFiles looks at the claims and their progress, the heartbeats of draining
// processes, and what was set aside.
func (v *Inspector) checkFiles(ctx context.Context) (all []Finding, chains int, err error) {
	entries, err := v.fsys.ReadDir(v.at.claims())
	if err != nil {
		return nil, 0, fmt.Errorf("list claims: %w", err)
	}
	var mu sync.Mutex
	err = each(ctx, len(entries), func(_ context.Context, i int) error {
		id := entries[i].Name()
		if !entries[i].IsDir() || !message.ValidLane(id) {
			return nil
		}
		found, err := v.checkChain(id)
		if err == nil && len(found) > 0 { // a second look: it may have been written meanwhile
			var again []Finding
			again, err = v.checkChain(id)
			found = slices.DeleteFunc(again, func(f Finding) bool { return !slices.ContainsFunc(found, f.same) })
		}
		mu.Lock()
		defer mu.Unlock()
		chains++
		all = append(all, found...)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	reports, err := v.reports(ctx)
	for _, r := range reports {
		all = append(all, r.finding())
	}
	return all, chains, err
}

func (r *SetAside) finding() Finding {
	f := Finding{
		Severity: SeverityNotice, Lane: r.Lane, Segment: r.Segment, Offset: r.Offset, FirstSeq: r.FirstSeq, LastSeq: r.LastSeq,
		File: fmt.Sprintf("quarantine/%s.%d.%d", r.Lane, r.Segment, r.Offset),
		Text: fmt.Sprintf("set aside at %s as %s: %s", r.Found.UTC().Format("2006-01-02 15:04:05"), r.Kind, r.Reason),
	}
	if r.Kind == "" { // a report that cannot be read, under the name of its file
		f.File, f.Lane, f.Text = path.Join("quarantine", r.Lane), "", r.Reason
	}
	return f
}

// chainCheck collects what is wrong with the files of one chain.
type chainCheck struct {
	v     *Inspector
	chain string
	found []Finding
}

func (c *chainCheck) find(severity, kind string, epoch uint64, text string) {
	c.found = append(c.found, Finding{
		Severity: severity, Text: text,
		File: path.Join("claims", c.chain, fmt.Sprintf("%s.%06d", kind, epoch)),
	})
}

// checkChain looks at every epoch of a chain. Files that a crash cut short while
// they were made are as they may be; only the newest epoch can have them, or one
// that was given up at once.
func (v *Inspector) checkChain(chain string) ([]Finding, error) {
	files, err := v.claimFiles(chain)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &chainCheck{v: v, chain: chain}
	claims := files.newest(claimKind)
	for _, epoch := range claims {
		c.claim(epoch)
	}
	for _, epoch := range files.newest(revokedKind) {
		c.revoked(epoch)
	}
	sound := false
	for _, epoch := range claims {
		if files[progressKind][epoch] {
			sound = c.progress(epoch, sound) || sound
		}
	}
	return c.found, nil
}

// claim judges a claim.
func (c *chainCheck) claim(epoch uint64) {
	b, err := c.v.readSmall(c.v.at.claimFile(c.chain, claimKind, epoch))
	var info claimInfo
	switch {
	case missing(err):
		return
	case err != nil:
		c.find(SeverityUnread, claimKind, epoch, err.Error())
	case len(b) == 0:
		c.find(SeverityNotice, claimKind, epoch, "empty: cut short while it was made")
	case json.Unmarshal(b, &info) != nil:
		c.find(SeverityWarning, claimKind, epoch, "cannot be read: damaged, or cut short while it was made")
	case info.Chain != c.chain || info.Epoch != epoch:
		c.find(SeverityWarning, claimKind, epoch, fmt.Sprintf("it is epoch %d of chain %s", info.Epoch, info.Chain))
	}
}

// revoked judges a revocation.
func (c *chainCheck) revoked(epoch uint64) {
	b, err := c.v.readSmall(c.v.at.claimFile(c.chain, revokedKind, epoch))
	switch text, ended := noteText(b); {
	case missing(err):
	case err != nil:
		c.find(SeverityUnread, revokedKind, epoch, err.Error())
	case len(b) != noteSize:
		c.find(SeverityNotice, revokedKind, epoch, "cut short while it was made")
	case ended && (b[0] == 0 || text == "" || b[len(b)-1] != '\n'):
		c.find(SeverityWarning, revokedKind, epoch, "filled with something that no process writes; the claim counts as revoked all the same")
	}
}

// progress judges a progress file and reports whether it has a sound slot. newer
// says that a later epoch has one, so that this one counts no more.
func (c *chainCheck) progress(epoch uint64, newer bool) (sound bool) {
	f, err := c.v.fsys.Open(c.v.at.claimFile(c.chain, progressKind, epoch))
	if missing(err) {
		return false
	}
	if err != nil {
		c.find(SeverityUnread, progressKind, epoch, err.Error())
		return false
	}
	defer f.Close()
	size, err := f.Size()
	written := 0
	unsound := 0
	for slot := range int64(2) {
		half := min(size/2, maxProgressSlot)
		_, counter, blank, rerr := readProgressSlot(f, slot*half, half)
		err = errors.Join(err, rerr)
		if counter > 0 {
			sound = true
		} else if !blank {
			unsound++
		}
		if !blank {
			written++
		}
	}
	switch {
	case err != nil:
		c.find(SeverityUnread, progressKind, epoch, err.Error())
	case sound && unsound > 0:
		c.find(SeverityNotice, progressKind, epoch, "one of two slots is not sound: damaged, or torn when its writer was killed")
	case sound || newer:
	case written == 0:
		c.find(SeverityNotice, progressKind, epoch, "nothing was saved in it: cut short while it was made")
	default:
		c.find(SeverityWarning, progressKind, epoch, "no slot is sound; what was forwarded under this epoch is sent again, and readers show it once")
	}
	return sound
}
