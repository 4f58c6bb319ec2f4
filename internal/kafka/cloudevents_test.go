package kafka

import (
	"testing"
	"time"

	"postroad/internal/message"
)

func TestEveryRecordIsACloudEvent(t *testing.T) {
	mine := DefaultOptions().CloudEvents
	id := message.DeriveID("p", "t", "k", message.Hash{}, 0)
	for _, c := range []struct {
		name    string
		options CloudEventsOptions
		headers []message.Header
		want    map[string]string
	}{
		{
			"plain", mine,
			[]message.Header{{Name: "content-type", Value: []byte("text/plain")}},
			map[string]string{
				"content-type": "text/plain", "ce_id": id.String(), "ce_source": "urn:postroad:topic:t",
				"ce_specversion": "1.0", "ce_type": "postroad.message",
			},
		},
		{
			"settings",
			CloudEventsOptions{Source: "https://example.com/{topic}/in", Type: "com.example.note"},
			nil,
			map[string]string{
				"ce_id": id.String(), "ce_source": "https://example.com/t/in", "ce_specversion": "1.0", "ce_type": "com.example.note",
			},
		},
		{
			"source without the topic",
			CloudEventsOptions{Source: "/fixed", Type: "x"},
			nil,
			map[string]string{"ce_id": id.String(), "ce_source": "/fixed", "ce_specversion": "1.0", "ce_type": "x"},
		},
		{
			"the client's own", mine,
			[]message.Header{
				{Name: "ce_id", Value: []byte("e 1")},
				{Name: "ce_source", Value: []byte("/vans/17")},
				{Name: "ce_specversion", Value: []byte("1.0")},
				{Name: "ce_type", Value: []byte("van.moved")},
			},
			map[string]string{"ce_id": "e 1", "ce_source": "/vans/17", "ce_specversion": "1.0", "ce_type": "van.moved"},
		},
		{
			"some of the client's own", mine,
			[]message.Header{{Name: "ce_type", Value: []byte("mine")}},
			map[string]string{
				"ce_id": id.String(), "ce_source": "urn:postroad:topic:t", "ce_specversion": "1.0", "ce_type": "mine",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAttributes(c.options)
			m := message.Stored{Message: message.Message{ID: id, Topic: "t", Headers: c.headers, Time: time.UnixMicro(1)}}
			hs, _ := appendHeaders(nil, nil, &m, &a, "onprem")
			got := map[string]string{}
			for _, h := range hs {
				if len(h.Key) > len(HeaderPrefix) && h.Key[:len(HeaderPrefix)] == HeaderPrefix {
					continue
				}
				if _, twice := got[h.Key]; twice {
					t.Errorf("header %s twice", h.Key)
				}
				got[h.Key] = string(h.Value)
			}
			if len(got) != len(c.want) {
				t.Errorf("headers %v, want %v", got, c.want)
			}
			for name, value := range c.want {
				if got[name] != value {
					t.Errorf("header %s is %q, want %q", name, got[name], value)
				}
			}
		})
	}
}
