package queue

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// errEnough ends a scan early.
var errEnough = errors.New("enough")

// scan calls yield for each message of the sound groups of a lane from a seq on,
// in order, with its group. What is damaged is passed over: that is for Check. What
// a live lane is getting just now may be among them or not. errEnough from yield
// ends the scan without an error.
func (v *Inspector) scan(ctx context.Context, id string, from uint64, yield func(g *wal.Group, m message.Stored) error) error {
	files, err := v.laneFiles(id)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range files.segments[v.segmentOf(id, files.segments, from):] {
		err := v.scanSegment(ctx, id, n, from, yield)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// segmentOf returns the index of the segment to begin with to find a seq.
func (v *Inspector) segmentOf(id string, segments []uint64, seq uint64) int {
	for i, n := range slices.Backward(segments) {
		seg, err := wal.OpenReader(v.fsys, path.Join(v.at.lane(id), wal.Name(n)))
		if err != nil {
			continue // blank or damaged: an earlier one leads there
		}
		first := seg.Header.First
		seg.Close()
		if first <= seq {
			return i
		}
	}
	return 0
}

func (v *Inspector) scanSegment(ctx context.Context, id string, number, from uint64, yield func(g *wal.Group, m message.Stored) error) error {
	seg, err := wal.OpenReader(v.fsys, path.Join(v.at.lane(id), wal.Name(number)))
	if unreadable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer seg.Close()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g, err := seg.Next()
		var bad *wal.InvalidError
		switch {
		case err == nil:
			if g.Last() >= from {
				err = yieldGroup(id, &g, from, yield)
			}
		case errors.As(err, &bad) && bad.Known:
			seg.SeekTo(bad.Offset + bad.Size)
			continue
		case errors.Is(err, io.EOF) || bad != nil:
			if _, err = seg.FindNext(from); errors.Is(err, io.EOF) {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

func yieldGroup(id string, g *wal.Group, from uint64, yield func(g *wal.Group, m message.Stored) error) error {
	msgs, err := g.Messages()
	if err != nil {
		return nil //nolint:nilerr // written so under sound checksums: damage, which is for Check
	}
	for i, m := range msgs {
		seq := g.First + uint64(i)
		if seq < from {
			continue
		}
		if err := yield(g, message.StoredAt(message.Place{Lane: id, Seq: seq}, m)); err != nil {
			return err
		}
	}
	return nil
}
