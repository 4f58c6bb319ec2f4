package sdk

import (
	"os"
	"testing"

	"postroad/test/binary"
	"postroad/test/kafkatest"
)

// built is the binary whose stream nodes are tested, kafka a real one for the
// runs that need it.
var (
	built binary.Built
	kafka = &kafkatest.Shared{Options: kafkatest.Options{Nodes: 1}}
)

func TestMain(m *testing.M) { os.Exit(built.Run(m, kafka.Close)) }
