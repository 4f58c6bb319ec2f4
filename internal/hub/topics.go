package hub

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// createTopic makes a topic that survives a kill, or finds it there.
func (h *Hub) createTopic(name string) error {
	if h.cluster.TopicInfo(name) != nil {
		return nil
	}
	if err := h.cluster.CreateTopic(name, int32(h.opts.Partitions), nil); err != nil {
		if h.cluster.TopicInfo(name) != nil { // a client was faster
			return nil
		}
		return fmt.Errorf("create topic %q: %w", name, err)
	}
	h.log.Info("hub created a topic", "topic", name, "partitions", h.opts.Partitions)
	return nil
}

// watchMetadata lets clients create a topic by naming it in a metadata request.
// The broker's own way of doing so does not store the topic, and after a kill
// its records would be out of reach; so the request is answered as it stands,
// with "unknown topic", and Run creates the topic before the client, which
// takes that answer for a passing one, asks again.
func (h *Hub) watchMetadata() {
	h.cluster.ControlKey(kmsg.Metadata.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req, ok := r.(*kmsg.MetadataRequest)
		if !ok || !req.AllowAutoTopicCreation {
			return nil, nil, false
		}
		for _, t := range req.Topics {
			if t.Topic == nil {
				continue
			}
			select {
			case h.wanted <- *t.Topic:
			default: // asked again soon
			}
		}
		return nil, nil, false
	})
}
