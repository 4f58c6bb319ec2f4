package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"postroad/internal/httpserve"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// mountDead serves the dead letters of the stamps' queues:
//
//	GET  /admin/v1/dead           lists them
//	POST /admin/v1/dead/release   sends some once more
//	POST /admin/v1/dead/discard   marks some as not wanted
//
// docs/queue-tools.md describes them. They work in each process of a stamp, since
// a mark needs no claim.
func mountDead(admin *httpserve.Admin, stamps []*stamp) {
	d := deadLetters{stamps}
	admin.Handle("GET /admin/v1/dead", answerWith(d.list))
	admin.Handle("POST /admin/v1/dead/release", answerWith(d.release))
	admin.Handle("POST /admin/v1/dead/discard", answerWith(d.discard))
}

type deadLetters struct{ stamps []*stamp }

// deadLetter is a dead letter of one of the stamps, without its value.
type deadLetter struct {
	Stamp string `json:"stamp"`
	queue.LetterView
}

func deadLetterOf(s *stamp, l *queue.Letter) deadLetter {
	return deadLetter{s.settings.Stamp.Name, l.View()}
}

// deadList is what GET /admin/v1/dead answers.
type deadList struct {
	Letters []deadLetter `json:"letters"`
	// More says that there are more than limit.
	More bool `json:"more"`
}

// The number of letters that one answer holds.
const (
	deadLimit    = 1000
	deadLimitMax = 100_000
)

var errEnoughLetters = errors.New("enough letters")

func (d deadLetters) list(r *http.Request) (any, error) {
	query := r.URL.Query()
	limit := deadLimit
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > deadLimitMax {
			return nil, fmt.Errorf("limit: %q: must be between 1 and %d: %w", text, deadLimitMax, message.ErrInvalid)
		}
		limit = n
	}
	f := queue.LetterFilter{Topic: query.Get("topic"), Marked: query.Get("marked") == "true"}
	list := deadList{Letters: []deadLetter{}}
	for _, s := range d.stamps {
		if name := query.Get("stamp"); name != "" && name != s.settings.Stamp.Name {
			continue
		}
		letters, err := s.letters()
		if err != nil {
			return nil, err
		}
		err = letters.Each(r.Context(), f, func(l queue.Letter) error {
			if len(list.Letters) == limit {
				list.More = true
				return errEnoughLetters
			}
			list.Letters = append(list.Letters, deadLetterOf(s, &l))
			return nil
		})
		if err != nil && !errors.Is(err, errEnoughLetters) {
			return nil, err
		}
	}
	return list, nil
}

// deadChoice is the body of release and discard: one of IDs, Topic and All.
type deadChoice struct {
	// Stamp says whose letters, where the process has several stamps.
	Stamp string `json:"stamp"`
	// IDs are dedupe ids, receipts or places.
	IDs   []string `json:"ids"`
	Topic string   `json:"topic"`
	All   bool     `json:"all"`
}

// deadDone is what release and discard answer.
type deadDone struct {
	Letters []deadLetter `json:"letters"`
	// Before are letters that were named and had been marked before.
	Before []deadLetter `json:"marked_before"`
}

// choiceLimit is the largest body, in bytes.
const choiceLimit = 4 << 20

// choose reads which letters of which stamp are meant.
func (d deadLetters) choose(r *http.Request) (*stamp, queue.LetterFilter, error) {
	var c deadChoice
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, choiceLimit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, queue.LetterFilter{}, fmt.Errorf("body: %w: %w", err, message.ErrInvalid)
	}
	ways := 0
	for _, given := range []bool{len(c.IDs) > 0, c.Topic != "", c.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, queue.LetterFilter{}, fmt.Errorf("give one of ids, topic and all: %w", message.ErrInvalid)
	}
	f, err := queue.ParseLetters(c.IDs)
	if err != nil {
		return nil, f, err
	}
	f.Topic = c.Topic
	for _, s := range d.stamps {
		if c.Stamp == s.settings.Stamp.Name || c.Stamp == "" && len(d.stamps) == 1 {
			return s, f, nil
		}
	}
	return nil, f, fmt.Errorf("stamp: %q: must be one of this process's: %w", c.Stamp, message.ErrInvalid)
}

// settle does what do says with the letters that a request names.
func (d deadLetters) settle(r *http.Request, do func(s *stamp, l *queue.Letters, f queue.LetterFilter, done func(queue.Letter)) error) (any, error) {
	s, f, err := d.choose(r)
	if err != nil {
		return nil, err
	}
	letters, err := s.letters()
	if err != nil {
		return nil, err
	}
	chosen, err := letters.Survey(r.Context(), f)
	if err != nil {
		return nil, err
	}
	if len(chosen.Unknown) > 0 {
		return nil, fmt.Errorf("dead letter %s: %w; nothing was changed", chosen.Unknown[0], message.ErrNotFound)
	}
	out := deadDone{Letters: []deadLetter{}, Before: []deadLetter{}}
	for i := range chosen.Before {
		out.Before = append(out.Before, deadLetterOf(s, &chosen.Before[i]))
	}
	err = do(s, letters, f, func(l queue.Letter) { out.Letters = append(out.Letters, deadLetterOf(s, &l)) })
	if err != nil {
		return nil, fmt.Errorf("after %d letters: %w; ask again for the rest", len(out.Letters), err)
	}
	return out, nil
}

// markedByAdmin is who a mark says it is by.
const markedByAdmin = "admin API"

func (d deadLetters) release(r *http.Request) (any, error) {
	return d.settle(r, func(s *stamp, l *queue.Letters, f queue.LetterFilter, done func(queue.Letter)) error {
		return s.appending(func(to queue.Appender) error { return l.Release(r.Context(), to, f, markedByAdmin, done) })
	})
}

func (d deadLetters) discard(r *http.Request) (any, error) {
	return d.settle(r, func(_ *stamp, l *queue.Letters, f queue.LetterFilter, done func(queue.Letter)) error {
		return l.Discard(r.Context(), f, markedByAdmin, done)
	})
}

func (s *stamp) letters() (*queue.Letters, error) {
	return queue.OpenLetters(s.settings.Queue.Dir, nil)
}

// appending calls use with what takes messages: the stamp's queue, or, in a
// forwarder alone, which has no lane, one that is open for as long as that takes.
func (s *stamp) appending(use func(queue.Appender) error) error {
	if s.writes() {
		return use(s.queue)
	}
	q, err := queue.Open(s.settings.Queue, queue.Deps{Part: queue.Writes, Log: s.log, Stamp: s.settings.Stamp.Name})
	if err != nil {
		return fmt.Errorf("%w: %w", message.ErrNotStored, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- q.Run(ctx) }()
	err = use(q)
	stop()
	return errors.Join(err, <-ran, q.Close())
}

// answerWith answers with what do returns as JSON, or with a problem.
func answerWith(do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := do(r)
		if err != nil {
			deadProblem(err).Write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		// What is encoded holds nothing that JSON cannot, and an error of
		// writing is the reader's own.
		_ = json.NewEncoder(w).Encode(v)
	})
}

// deadProblem is how an error is answered.
func deadProblem(err error) httpserve.Problem {
	kinds := []struct {
		cause  error
		name   string
		status int
		title  string
	}{
		{message.ErrOutcomeUnknown, "outcome-unknown", http.StatusGatewayTimeout, "Outcome unknown"},
		{message.ErrFull, "insufficient-storage", http.StatusInsufficientStorage, "No space left"},
		{message.ErrNotStored, "unavailable", http.StatusServiceUnavailable, "Not available now"},
		{message.ErrNotFound, "not-found", http.StatusNotFound, "Not found"},
		{message.ErrInvalid, "bad-request", http.StatusBadRequest, "Bad request"},
	}
	for _, k := range kinds {
		if errors.Is(err, k.cause) {
			return httpserve.Problem{Name: k.name, Status: k.status, Title: k.title, Detail: err.Error()}
		}
	}
	return httpserve.Problem{Name: "internal", Status: http.StatusInternalServerError, Title: "Internal error", Detail: err.Error()}
}
