package forward_test

import (
	"testing"
	"time"

	"postroad/test/kafkatest"
)

// realTakeovers counts, on real Kafka, the records that a chain's messages made
// after its forwarder was killed so often, with zombies that wake.
func realTakeovers(t *testing.T, deaths int) {
	t.Helper()
	c := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"num.partitions": "3"}})
	seed := uint64(time.Now().UnixNano()) % 1e9
	t.Logf("seed %d", seed)
	began := time.Now()
	if err := exactTakeovers(t, seed, exactTwin{}, c.Addrs("plain")[0], deaths); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	t.Logf("%d deaths in %v", deaths, time.Since(began).Round(time.Millisecond))
}

func TestExactlyOnceOnRealKafka(t *testing.T) { realTakeovers(t, 3) }
