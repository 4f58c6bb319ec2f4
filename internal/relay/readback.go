package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// readBackTimeout bounds a question for what is stored: the other stamp waits for
// its other processes, and may have to read much.
const readBackTimeout = 5 * time.Minute

// ReadBack asks which messages of this stamp the other one has stored since the
// marks, by whichever of its processes, and calls found for each with the place at
// which this stamp keeps it. The answer comes once nothing that was sent before
// can be stored any more.
//
// lost are the marks that are older than what the other stamp remembers, with the
// time from which it does. found may have been called before an error.
func (s *Sink) ReadBack(ctx context.Context, from []message.Mark, found func(p message.Place, at message.Mark)) (lost []message.Mark, err error) {
	if len(from) == 0 {
		return nil, nil
	}
	l, err := s.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readBackTimeout)
	defer cancel()
	ctx, stop := merged(ctx, l.ctx)
	defer stop()
	q := wire.Question{Topics: map[string]int64{}}
	for _, m := range from {
		if since, ok := q.Topics[m.Topic]; !ok || m.Offset < since {
			q.Topics[m.Topic] = m.Offset
		}
	}
	done, err := s.places(ctx, l, q, func(topic string, p message.Place) {
		s.noDoubt(p)
		found(p, message.Mark{Topic: topic, Offset: q.Topics[topic]})
	})
	if err != nil {
		return nil, classified("ask the other stamp what it has", err)
	}
	for _, m := range from {
		if known, ok := done.From[m.Topic]; ok && m.Offset < known {
			lost = append(lost, message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: known})
		}
	}
	return lost, nil
}

// places makes the request and reads the answer as it comes.
func (s *Sink) places(ctx context.Context, l *life, q wire.Question, found func(string, message.Place)) (*wire.PlacesDone, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.URL+wire.PathPlaces, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, _, err := s.exchange(l, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // read to its end, or of no use
	in := json.NewDecoder(resp.Body)
	for {
		var line wire.PlacesLine
		if err := in.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) { // without its last line it is not all
				err = io.ErrUnexpectedEOF
			}
			err = fmt.Errorf("%w: %w", errBadBody, err)
			s.report(err)
			return nil, err
		}
		if line.Done != nil {
			s.report(nil)
			return line.Done, nil
		}
		if _, asked := q.Topics[line.Topic]; !asked || !message.ValidLane(line.Lane) {
			return nil, fmt.Errorf("%w: topic %q, lane %q", errBadBody, line.Topic, line.Lane)
		}
		for _, run := range line.Runs {
			if run[0] == 0 || run[1] < run[0] || run[1]-run[0] > maxRun {
				return nil, fmt.Errorf("%w: a run from %d to %d", errBadBody, run[0], run[1])
			}
			for seq := run[0]; seq <= run[1]; seq++ {
				found(line.Topic, message.Place{Lane: line.Lane, Seq: seq})
			}
		}
	}
}

// maxRun is the longest run that is believed.
const maxRun = 1 << 32
