package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
		p, err := loadProgress(v.fsys, v.at.claimFile(chain, progressKind, epoch))
		if errors.Is(err, errNoProgress) || missing(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("progress of chain %s, epoch %d: %w", chain, epoch, err)
		}
		c.ProgressEpoch, c.settled = epoch, nextByLane(p)
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
