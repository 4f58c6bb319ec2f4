package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// send posts one message with a key and returns its receipt.
func (d *realDrill) send(key string, value []byte) string {
	d.Helper()
	var answer struct {
		IDs []string `json:"ids"`
	}
	d.call(http.MethodPost, "/v1/topics/"+d.topic+"/messages?key="+key, value, http.StatusAccepted, &answer)
	if len(answer.IDs) != 1 {
		d.Fatalf("%d ids for one message", len(answer.IDs))
	}
	return answer.IDs[0]
}

// call makes a request of the gateway and decodes the answer.
func (d *realDrill) call(method, path string, body []byte, want int, answer any) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+d.listen+path, bytes.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	req.Close = true // nothing of it stays behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		d.Fatalf("%s %s: %v", method, path, err)
	}
}

// A message that a topic does not take, because it is larger than the topic's own
// limit, becomes a dead letter, and those before and behind it go on.
func TestRealKafkaTooLarge(t *testing.T) {
	d := onRealKafka(t, map[string]string{"max.message.bytes": "400000"})
	d.start()
	var large []string
	d.under(func() {
		for i := range 5 {
			d.forwards("before")
			large = append(large, d.send(fmt.Sprintf("key%%20%d%%2F%%25", i), bytes.Repeat([]byte("x"), 450_000)))
		}
		d.forwards("behind")
	}, d.load)
	for _, receipt := range large {
		var is struct{ State, Reason string }
		d.until("it is a dead letter", func() (bool, error) {
			d.call(http.MethodGet, "/v1/messages/"+receipt, nil, http.StatusOK, &is)
			return is.State == "dead", nil
		})
		if !strings.Contains(strings.ToLower(is.Reason), "large") {
			t.Errorf("it is dead because %q", is.Reason)
		}
	}
	d.keeps(d.judge(d.ledger, d.topic))
}

// A topic is deleted under load and made again. What stood in it is gone; all
// that was acknowledged since is in the new one once, also for a process that
// takes over with the places of the old one in its hands.
func TestRealKafkaTopicMadeAgain(t *testing.T) {
	d := onRealKafka(t, nil)
	// Kafka's answers to the old topic are waited for as long as one may take.
	d.start("hub.create_topics=false", "hub.request_timeout=3s", "forward.takeover_wait=3s", "forward.hold_interval=1s", "forward.save_interval=500ms")
	d.under(func() {
		d.forwards("before")
		if _, err := d.kafka.Admin().DeleteTopic(d.ctx, d.topic); err != nil {
			t.Fatal(err)
		}
		d.backlog("the topic is gone", func(n int64) bool { return n >= enough })
		made := time.Now()
		d.kafka.CreateTopic(d.ctx, d.topic, 4, nil)
		d.uncertain(d.ledger, made)
		t.Logf("made again: forwarded after %.1f s", d.forwards("made again").Seconds())
		d.restart()
		d.forwards("taken over")
	}, d.load)
	v := d.judge(d.ledger, d.topic)
	// A batch of which a part stood in the old topic is seen in part.
	v.Torn = Findings{}
	d.keeps(v)
}

// partitionsRaised raises the number of partitions of a topic under load, and
// kills the stamp behind it.
func partitionsRaised(t *testing.T, running bool) {
	d := onRealKafka(t, nil)
	d.start("forward.save_interval=500ms")
	inNew := func() (bool, error) {
		ends, err := d.kafka.Admin().ListEndOffsets(d.ctx, d.topic)
		if err != nil {
			return false, err
		}
		for p := int32(4); p < 8; p++ {
			if end, ok := ends.Lookup(d.topic, p); ok && end.Err == nil && end.Offset > 0 {
				return true, nil
			}
		}
		return false, nil
	}
	d.under(func() {
		d.forwards("before")
		results, err := d.kafka.Admin().UpdatePartitions(d.ctx, 8, d.topic)
		if err == nil {
			err = results.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		raised := time.Now()
		if running {
			d.until("messages are in new partitions", inNew)
			t.Logf("the new partitions were used after %.1f s", time.Since(raised).Seconds())
		} else {
			d.forwards("raised")
		}
		d.restart()
		d.until("messages are in new partitions", inNew)
		d.forwards("taken over")
	}, d.load)
	unordered(d.ledger) // no order is promised across that
	d.under(func() { d.forwards("afterwards") }, d.load)
	d.restart()
	d.keeps(d.judge(d.ledger, d.topic))
}

// A topic gets more partitions while it is written to, and its forwarder is
// killed before it knows of them.
func TestRealKafkaPartitionsRaised(t *testing.T) {
	partitionsRaised(t, false)
}
