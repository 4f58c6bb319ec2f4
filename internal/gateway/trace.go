package gateway

import "strings"

// traceParent returns the W3C trace context of a request, or nothing where it
// is missing or malformed: by the specification such a trace begins anew.
func traceParent(fields []string) string {
	if len(fields) != 1 || !validTraceParent(fields[0]) {
		return ""
	}
	return fields[0]
}

// validTraceParent checks "version-trace id-parent id-flags" in lower-case
// hex. Later versions may have more after the flags.
func validTraceParent(s string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || len(s) > 256 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !lowerHex(version) || !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags) {
		return false
	}
	if strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" || version == "ff" {
		return false
	}
	if version == "00" || len(s) == length {
		return len(s) == length
	}
	return s[length] == '-' && printable(s[length:])
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
