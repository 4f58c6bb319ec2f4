package consumers

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"postroad/test/kafkatest"
)

// kafka is what the tests share: one node is enough for what they ask.
var kafka = &kafkatest.Shared{Options: kafkatest.Options{Nodes: 1}}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := kafka.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "end Kafka:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
