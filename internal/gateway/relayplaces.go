package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// maxQuestion is the largest question, in bytes, and runsALine how many runs a
// line of the answer holds.
const (
	maxQuestion = 1 << 20
	runsALine   = 1000
)

// relayPlaces is POST /v1/relay/places: which messages of the sender are stored in
// this queue, by whichever process. It is answered once nothing that the sender
// gave up can be stored any more.
func (g *Gateway) relayPlaces(w http.ResponseWriter, r *http.Request, stamp string) (int, error) {
	var q wire.Question
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return 0, refuse(message.ErrInvalid, "body: %v", err)
	}
	for topic := range q.Topics {
		if !message.ValidTopic(topic) {
			return 0, refuse(message.ErrInvalid, "topic %q is none", clip(topic))
		}
	}
	ctx := r.Context()
	// In other processes the lease of every tick that they have given must be over,
	// and what they stored by then known; in this one its requests are seen.
	if err := g.relay.outlast(ctx, relayLease+relayAppend+relaySettle); err != nil {
		return 0, err
	}
	if g.relay.index.await(ctx, stamp) != nil {
		return 0, refuse(errSlowBody, "the sender went away")
	}
	found, from, err := g.findRelayed(ctx, stamp, q.Topics)
	if err != nil {
		return 0, err
	}
	w.Header().Set("Content-Type", typeNDJSON)
	w.Header()["Cache-Control"] = g.static.noStore
	w.WriteHeader(http.StatusOK)
	// What cannot be written is missed by nobody: an answer without its last line
	// is none.
	out := json.NewEncoder(w)
	for s, l := range found {
		for runs := range slices.Chunk(l.runs(), runsALine) {
			if out.Encode(wire.PlacesLine{Topic: s.topic, Lane: s.lane, Runs: runs}) != nil {
				return http.StatusOK, nil
			}
		}
	}
	_ = out.Encode(wire.PlacesLine{Done: &wire.PlacesDone{Hello: g.hello(), From: from}})
	return http.StatusOK, nil
}

// outlast waits for a time, or until no other process writes to the queue.
func (x *relay) outlast(ctx context.Context, d time.Duration) error {
	deadline := time.Now().Add(d)
	ended := map[string]bool{}
	for {
		others, err := x.store.OtherWriters(ctx, ended)
		switch {
		case ctx.Err() != nil:
			return refuse(errSlowBody, "the sender went away")
		case err != nil:
			return refuse(errUnavailable, "cannot see what other processes do")
		case !others || !time.Now().Before(deadline):
			return nil
		}
		timer := time.NewTimer(outlastEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// outlastEvery is how often it is looked whether others have ended.
const outlastEvery = 100 * time.Millisecond

// relaySet is a set of seqs, in words of 64.
type relaySet map[uint64]uint64

func (s relaySet) add(runs [][2]uint64) {
	for _, r := range runs {
		for seq := r[0]; seq <= r[1]; seq++ {
			s[seq/64] |= 1 << (seq % 64)
		}
	}
}

func (s relaySet) runs() (runs [][2]uint64) {
	for _, n := range slices.Sorted(maps.Keys(s)) {
		runs = appendRuns(runs, n, s[n])
	}
	return runs
}

// findRelayed returns what is stored of the topics since a time each, in
// microseconds. from has those topics of which only what is later is known.
func (g *Gateway) findRelayed(ctx context.Context, stamp string, topics map[string]int64) (found map[relayStream]relaySet, from map[string]int64, err error) {
	found, from = map[relayStream]relaySet{}, map[string]int64{}
	add := func(topic, lane string, runs [][2]uint64) {
		s := relayStream{stamp, topic, lane}
		if found[s] == nil {
			found[s] = relaySet{}
		}
		found[s].add(runs)
	}
	horizon := g.deps.Now().Add(-g.opts.Relay.Retention).UnixMicro()
	wanted := make(map[message.Hash]string, len(topics))
	oldest := g.deps.Now().UnixMicro()
	for topic, since := range topics {
		wanted[relayKey(stamp, topic)] = topic
		since -= relaySkew.Microseconds()
		complete := g.relay.index.since(stamp, topic, since, func(lane string, runs [][2]uint64) { add(topic, lane, runs) })
		if complete = max(complete, horizon); since < complete {
			from[topic] = complete
		}
		oldest = min(oldest, max(since, horizon))
	}
	if g.deps.Keys == nil || len(topics) == 0 {
		return found, from, nil
	}
	err = g.deps.Keys.Keys(ctx, time.UnixMicro(oldest), func(k StoredKey) error {
		topic, ok := wanted[k.Hash]
		if !ok || k.Time.UnixMicro() < topics[topic]-relaySkew.Microseconds() {
			return nil
		}
		group, err := g.relay.store.Group(ctx, k.First)
		if errors.Is(err, message.ErrNotFound) { // forwarded and removed since
			from[topic] = max(from[topic], k.Time.UnixMicro()+1)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a relayed group: %w", err)
		}
		for i := range group {
			path, at, ok := wire.Came(&group[i].Message)
			if ok && path[len(path)-1] == stamp && group[i].Topic == topic && !group[i].Replay {
				add(topic, at.Lane, [][2]uint64{{at.Seq, at.Seq}})
			}
		}
		return nil
	})
	if err != nil {
		// A part of the truth would be taken for all of it.
		g.deps.Log.Error("could not find out which relayed messages are stored", "from", stamp, "err", err)
		return nil, nil, refuse(errUnavailable, "cannot read all of what is stored")
	}
	return found, from, nil
}
