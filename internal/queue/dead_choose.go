package queue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postroad/internal/message"
)

// ParseLetters makes a filter of letters that are named, each by its dedupe id, a
// receipt, or the place where it stands or was first stored as LANE.SEQ. The error
// matches message.ErrInvalid.
func ParseLetters(names []string) (LetterFilter, error) {
	var f LetterFilter
	for _, name := range names {
		lane, seq, some := strings.Cut(name, ".")
		switch {
		case strings.Count(name, ".") == 2:
			r, err := message.ParseReceipt(name)
			if err != nil {
				return f, err
			}
			f.Places = append(f.Places, r.Place)
		case some:
			n, err := strconv.ParseUint(seq, 10, 64)
			if err != nil || n == 0 || !message.ValidLane(lane) {
				return f, fmt.Errorf("%q: must be a dedupe id, a receipt or LANE.SEQ: %w", name, message.ErrInvalid)
			}
			f.Places = append(f.Places, message.Place{Lane: lane, Seq: n})
		default:
			id, err := message.ParseID(name)
			if err != nil {
				return f, err
			}
			f.IDs = append(f.IDs, id)
		}
	}
	return f, nil
}

// Chosen is what a filter chooses, before anything is done.
type Chosen struct {
	// Open is how many open letters it chooses.
	Open int
	// Before are letters that it names and that were marked before, each once.
	Before []Letter
	// Unknown are names of which there is no letter.
	Unknown []string
}

// Survey tells what a filter chooses. The letters in Before are without values.
func (d *Letters) Survey(ctx context.Context, f LetterFilter) (Chosen, error) {
	var c Chosen
	var marked []Letter
	named := len(f.IDs)+len(f.Places) > 0
	open, known := map[message.Place]bool{}, map[string]bool{}
	f.Marked = named
	err := d.Each(ctx, f, func(l Letter) error {
		for _, name := range []string{l.ID.String(), placeName(l.Place), placeName(l.Stands())} {
			known[name] = known[name] || named
		}
		if l.State == LetterOpen {
			c.Open++
			open[l.Place] = named
			return nil
		}
		l.Value, l.Headers = nil, nil
		marked = append(marked, l)
		return nil
	})
	for _, l := range slices.Backward(marked) { // the newest, of one that died again
		if !open[l.Place] && !slices.ContainsFunc(c.Before, func(b Letter) bool { return b.Place == l.Place }) {
			c.Before = append(c.Before, l)
		}
	}
	slices.Reverse(c.Before)
	for _, id := range f.IDs {
		if !known[id.String()] {
			c.Unknown = append(c.Unknown, id.String())
		}
	}
	for _, p := range f.Places {
		if !known[placeName(p)] {
			c.Unknown = append(c.Unknown, placeName(p))
		}
	}
	return c, err
}

func placeName(p message.Place) string { return p.Lane + "." + strconv.FormatUint(p.Seq, 10) }
