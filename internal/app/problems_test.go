package app_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"postroad/internal/door"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
)

//go:generate go test . -count=1 -run ^TestProblemsReferenceIsCurrent$ -update

var update = flag.Bool("update", false, "write docs/reference/problems.md again")

const problemsPage = "../../docs/reference/problems.md"

// problemRows is a table of problems; a name is written once.
func problemRows(kinds []httpserve.ProblemKind) string {
	var b strings.Builder
	b.WriteString("| name | status | what it means | what to do | `Retry-After` |\n|---|---|---|---|---|\n")
	seen := make(map[string]bool)
	for _, k := range kinds {
		name := "`" + k.Name + "`"
		if seen[k.Name] {
			name = "" // another cause of the one above
		}
		seen[k.Name] = true
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", name, k.Status, k.Meaning, k.Retry, cmp.Or(k.After, "–"))
	}
	return b.String()
}

// TestProblemsReferenceIsCurrent makes docs/reference/problems.md of what the gateway
// and the door list.
func TestProblemsReferenceIsCurrent(t *testing.T) {
	want := "# Problems\n\n<!-- Generated from internal/gateway and internal/door by: go generate ./internal/app -->\n\n" +
		"Errors are `application/problem+json` (RFC 9457). `type` is `" + httpserve.ProblemPrefix + "<name>` and stable; `detail` says what is wrong this time and is for people. " +
		"Every answer to a POST of messages carries the request's key in `Idempotency-Key`, problems included.\n\n" +
		"## Of a gateway\n\n" + problemRows(gateway.Problems()) +
		"\n`too-many-requests` is for front doors alone: a gateway limits no rates. `misdirected` is for other stamps, see [relay.md](../relay.md). `unauthorized` comes where a gateway asks for tokens, see [auth.md](../auth.md).\n\n" +
		"Further members: `line` (NDJSON) or `event` (a batch of CloudEvents) counts from 1 and names the message that is wrong; `offset` is the byte of the body, " +
		"or of the line, after which JSON is invalid.\n\n" +
		"## Of a front door\n\nA door passes on what a gateway answers. By itself it answers, for requests that no origin answered or that were sent to none:\n\n" +
		problemRows(door.Problems()) +
		"\nWhere `GET /v1/messages/{id}` could not be asked of all stamps, `complete` is false and `silent` names those that did not answer.\n"
	if *update {
		if err := os.WriteFile(problemsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(problemsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: go generate ./internal/app", problemsPage)
	}
}

// One name means one status, whoever answers it.
func TestAProblemHasOneStatus(t *testing.T) {
	status := make(map[string]int)
	for _, k := range append(gateway.Problems(), door.Problems()...) {
		if s, known := status[k.Name]; known && s != k.Status {
			t.Errorf("%s is %d and %d", k.Name, s, k.Status)
		}
		status[k.Name] = k.Status
	}
}
