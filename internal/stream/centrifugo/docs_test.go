package centrifugo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The reference tells of every code that is given here, and how SDKs take it.
func TestReferenceHasAllCodes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", "stream-protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	has := func(code uint32, parts ...string) {
		t.Helper()
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, fmt.Sprintf("| %d | ", code)) })
		if at < 0 {
			t.Errorf("nothing about %d", code)
			return
		}
		for _, part := range parts {
			if !strings.Contains(lines[at], part) {
				t.Errorf("%q is not in %q", part, lines[at])
			}
		}
	}
	for _, f := range []*fault{
		errInternal(), errUnauthorized(), errUnknownChannel(), errPermissionDenied(), errMethodNotFound(), errAlreadySubscribed(),
		errLimitExceeded(), errBadRequest(), errNotAvailable(), errTokenExpired(), errTooManyRequests(), errUnrecoverable(),
	} {
		has(f.code, f.message, map[bool]string{true: "| yes |", false: "| | "}[f.temporary])
	}
	for _, d := range []*disconnect{
		byeServerError(), byeExpired(), byeInsufficientState(), byeInvalidToken(), byeBadRequest(), byeStale(), byeChannelLimit(),
	} {
		sdk := "connect again |"
		if d.code >= 3500 && d.code < 4000 {
			sdk = "give up |"
		}
		has(uint32(d.code), sdk)
	}
	has(unsubscribedServer, "give up |")
	has(unsubscribedInsufficient, "subscribe again")
}
