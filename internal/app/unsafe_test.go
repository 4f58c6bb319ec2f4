package app

import (
	"strings"
	"testing"

	"postroad/internal/durable"
)

// Whoever tries it in a container learns that it is a trial, in words and once;
// on a sound disk nothing is said.
func TestDevSaysThatItsDataMayBeLost(t *testing.T) {
	gone := durable.Support{Type: "overlay", Verdict: durable.Refused, Reasons: []string{"it goes with the container"}}
	if got := unsafeNote(gone); !strings.Contains(got, "overlay") || !strings.Contains(got, "it goes with the container") {
		t.Errorf("%q", got)
	}
	for _, v := range []durable.Verdict{durable.Supported, durable.Remarked, ""} {
		if got := unsafeNote(durable.Support{Type: "ext4", Verdict: v}); got != "" {
			t.Errorf("%s: %q", v, got)
		}
	}
}
