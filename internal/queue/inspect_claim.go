package queue

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"postroad/internal/message"
)

// claimFiles are the epochs of which a chain's directory has files, by kind.
type claimFiles map[string]map[uint64]bool

// The kinds of a chain's files.
const (
	claimKind    = "claim"
	revokedKind  = "revoked"
	progressKind = "progress"
)

func (v *Inspector) claimFiles(chain string) (claimFiles, error) {
	entries, err := v.fsys.ReadDir(v.at.chain(chain))
	if err != nil {
		return nil, fmt.Errorf("list claims of %s: %w", chain, err)
	}
	files := claimFiles{claimKind: {}, revokedKind: {}, progressKind: {}}
	for _, e := range entries {
		kind, digits, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil && files[kind] != nil {
			files[kind][n] = true
		}
	}
	return files, nil
}

// newest lists the epochs of a kind, the newest first.
func (f claimFiles) newest(kind string) []uint64 {
	epochs := slices.Sorted(maps.Keys(f[kind]))
	slices.Reverse(epochs)
	return epochs
}

// chainView looks at a chain's newest claim and the progress that counts; nil
// where the chain is gone. System calls: open, getdents; for each of claim and
// revocation open, pread, close; for the progress open, fstat, pread, pread,
// close.
func (v *Inspector) chainView(chain string) (*chainView, error) {
	files, err := v.claimFiles(chain)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &chainView{ClaimView: ClaimView{Chain: chain, State: ClaimUnfinished, Owner: OwnerView{State: OwnerUnknown}}}
	claims := files.newest(claimKind)
	if len(claims) > 0 {
		c.Epoch = claims[0]
		v.readClaim(&c.ClaimView)
	}
	for _, epoch := range claims { // progress counts only beside its claim
		p, err := v.progress(chain, epoch)
		if errors.Is(err, errNoProgress) || missing(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("progress of chain %s, epoch %d: %w", chain, epoch, err)
		}
		c.ProgressEpoch, c.settled = epoch, make(map[string]uint64, len(p.Lanes))
		for _, l := range p.Lanes {
			c.settled[l.Lane] = l.Next
		}
		break
	}
	return c, nil
}

// readClaim fills in who holds a claim. What cannot be read is left out: check
// says why.
func (v *Inspector) readClaim(c *ClaimView) {
	b, err := v.readSmall(v.at.claimFile(c.Chain, claimKind, c.Epoch))
	var info claimInfo
	if err != nil || json.Unmarshal(b, &info) != nil {
		return
	}
	c.Claimed, c.Owner = info.Claimed, v.ownerView(info.Owner)
	b, err = v.readSmall(v.at.claimFile(c.Chain, revokedKind, c.Epoch))
	if err != nil {
		return
	}
	c.State = ClaimHeld
	if text, ended := noteText(b); ended {
		c.State, c.Note = firstWord(text), text
	}
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return strings.TrimRight(word, ":,;")
}

// progress reads the newest sound value of a progress file, of each slot no more
// than it uses: a file has room for a quarter of a megabyte, and what is in it
// is mostly a few hundred bytes. errNoProgress where no slot is sound.
func (v *Inspector) progress(chain string, epoch uint64) (message.Progress, error) {
	f, err := v.fsys.Open(v.at.claimFile(chain, progressKind, epoch))
	if err != nil {
		return message.Progress{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return message.Progress{}, err
	}
	half := min(size/2, maxProgressSlot)
	var newest message.Progress
	var counter uint64
	for slot := range int64(2) {
		value, c, _, err := readProgressSlot(f, slot*half, half)
		if err != nil {
			return message.Progress{}, err
		}
		if c > counter {
			newest, counter = value, c
		}
	}
	if counter == 0 {
		return message.Progress{}, errNoProgress
	}
	return newest, nil
}

// readProgressSlot reads a slot of a progress file. counter is 0 where it is not
// sound; blank reports that nothing was ever written there, as far as was read.
func readProgressSlot(f io.ReaderAt, at, room int64) (value message.Progress, counter uint64, blank bool, err error) {
	for size := min(smallFile, room); ; size = min(16*size, room) {
		b := make([]byte, size)
		n, err := f.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return value, 0, false, err
		}
		value, counter, err = decodeProgressSlot(b[:n])
		if err == nil {
			return value, counter, false, nil
		}
		_, written := noteText(b[:n])
		if !written || size == room || !progressGoesOn(b[:n]) {
			return message.Progress{}, 0, !written, nil
		}
	}
}

// progressGoesOn reports whether a slot says that it is longer than what was read.
func progressGoesOn(b []byte) bool {
	return len(b) >= progressHeader && [4]byte(b[:4]) == progressMagic &&
		progressHeader+uint64(binary.LittleEndian.Uint32(b[16:])) > uint64(len(b))
}
