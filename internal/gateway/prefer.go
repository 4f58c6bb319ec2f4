package gateway

import (
	"strconv"
	"strings"
	"time"
)

// preferWait reads "wait=S" from the Prefer fields (RFC 7240) and caps it. The
// first wait counts; one that is no number of seconds is ignored, as the RFC
// asks of preferences that are not understood.
func preferWait(fields []string, most time.Duration) time.Duration {
	for _, field := range fields {
		for field != "" {
			var preference string
			preference, field = cutPreference(field)
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0
			}
			return min(time.Duration(seconds)*time.Second, most)
		}
	}
	return 0
}

// cutPreference takes the first preference of a field, without parameters.
// Commas and semicolons within double quotes do not end it.
func cutPreference(field string) (preference, rest string) {
	quoted, end := false, -1
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted && end < 0:
			end = i
		case c == ',' && !quoted:
			if end < 0 {
				end = i
			}
			return field[:end], field[i+1:]
		}
	}
	if end < 0 {
		end = len(field)
	}
	return field[:end], ""
}
