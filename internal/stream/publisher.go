package stream

import (
	"context"
	"errors"
	"net/http"

	"postroad/internal/stream/centrifugo"
	"postroad/internal/stream/publish"
)

// publisher is what the protocol publishes by: a publish.Publisher with the errors
// that the protocol tells apart.
type publisher struct{ to *publish.Publisher }

var _ centrifugo.Publisher = publisher{}

// Publish implements centrifugo.Publisher.
func (p publisher) Publish(ctx context.Context, m centrifugo.Publication) error {
	_, err := p.to.Publish(ctx, publish.Message{
		Principal: m.Principal.Name, Topic: m.Topic, Key: m.Key, Value: m.Data, Type: m.ContentType,
	})
	return publishError(err)
}

// publishError has an error of publishing match that of the protocol.
func publishError(err error) error {
	var failed *publish.Error
	if err == nil {
		return nil
	}
	known := errors.As(err, &failed)
	switch {
	case errors.Is(err, publish.ErrDenied):
		return errors.Join(centrifugo.ErrDenied, err)
	case known && failed.Status == http.StatusNotFound:
		return errors.Join(centrifugo.ErrNoTopic, err)
	case errors.Is(err, publish.ErrTooLarge):
		return errors.Join(centrifugo.ErrTooLarge, err)
	case errors.Is(err, publish.ErrInvalid):
		return errors.Join(centrifugo.ErrRejected, err)
	case errors.Is(err, publish.ErrUnavailable):
		return errors.Join(centrifugo.ErrOverloaded, err)
	}
	return errors.Join(centrifugo.ErrOutcomeUnknown, err)
}
