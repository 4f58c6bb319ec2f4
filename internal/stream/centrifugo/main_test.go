package centrifugo

import (
	"testing"

	"go.uber.org/goleak"
)

// The SDK leaves two goroutines behind that end by themselves, or never do: one for
// each command whose connection went away, one for the callbacks of a client that
// was closed while it was connecting.
func TestMain(m *testing.M) {
	const sdk = "github.com/centrifugal/centrifuge-go."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(sdk+"(*Client).sendAsync.func1"), goleak.IgnoreAnyFunction(sdk+"(*cbQueue).dispatch"))
}
