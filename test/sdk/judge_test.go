package sdk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// maxProblems is how many problems of one client are described.
const maxProblems = 5

// compare says what is wrong with what was received of one key, id by id:
// missing, received twice, received and never sent, or out of order.
func compare(key string, received, acknowledged []string) []string {
	var problems []string
	counts, wanted := make(map[string]int), make(map[string]bool)
	for _, r := range received {
		counts[r]++
	}
	for _, a := range acknowledged {
		wanted[a] = true
		if n := counts[a]; n != 1 {
			problems = append(problems, fmt.Sprintf("key %q: %.60s was received %d times", key, a, n))
		}
	}
	for _, r := range received {
		if !wanted[r] {
			problems = append(problems, fmt.Sprintf("key %q: %.60s was received, and never sent", key, r))
		}
	}
	if len(problems) == 0 && !slices.Equal(received, acknowledged) {
		i := 0
		for received[i] == acknowledged[i] {
			i++
		}
		problems = append(problems, fmt.Sprintf("key %q: %.60s was received before %.60s", key, received[i], acknowledged[i]))
	}
	if n := len(problems); n > maxProblems {
		problems = append(problems[:maxProblems], fmt.Sprintf("key %q: and %d more", key, n-maxProblems))
	}
	return problems
}

// Each kind of difference is found.
func TestCompare(t *testing.T) {
	sent := []string{"a", "b", "c", "d"}
	if problems := compare("k", sent, sent); len(problems) > 0 {
		t.Errorf("%q", problems)
	}
	for name, tc := range map[string]struct {
		received []string
		want     string
	}{
		"missed":  {[]string{"a", "c", "d"}, "b was received 0 times"},
		"twice":   {[]string{"a", "b", "c", "b", "d"}, "b was received 2 times"},
		"strange": {[]string{"a", "b", "c", "d", "e"}, "e was received, and never sent"},
		"order":   {[]string{"a", "c", "b", "d"}, "c was received before b"},
		"nothing": {nil, "a was received 0 times"},
	} {
		if problems := compare("k", tc.received, sent); len(problems) == 0 || !strings.Contains(problems[0], tc.want) {
			t.Errorf("%s: %q, want %q", name, problems, tc.want)
		}
	}
}
