package app

import (
	"postroad/internal/drill"
	"postroad/internal/forward"
	"postroad/internal/message"
)

// recorded returns the sink, with its produces counted where a drill records.
func (p process) recorded(s forward.Sink) forward.Sink {
	if p.recorder == nil {
		return s
	}
	return recordedSink{s, p.recorder}
}

type recordedSink struct {
	forward.Sink
	recorder *drill.Recorder
}

// Identity is the sink's, where it has one.
func (s recordedSink) Identity() string {
	if i, ok := s.Sink.(interface{ Identity() string }); ok {
		return i.Identity()
	}
	return ""
}

// Produce counts a message as given to the hub until its outcome is known.
func (s recordedSink) Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error {
	s.recorder.ProduceStarted()
	err := s.Sink.Produce(m, partition, turn, func(offset int64, err error) {
		s.recorder.ProduceDone()
		done(offset, err)
	})
	if err != nil { // done is not called then
		s.recorder.ProduceDone()
	}
	return err
}
