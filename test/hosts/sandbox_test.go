package hosts

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	called   = regexp.MustCompile(`(?m)^\d+ +([a-z_0-9]+)\(`)
	sockets  = regexp.MustCompile(`(?m)^\d+ +socket\((AF_\w+)`)
	opened   = regexp.MustCompile(`(?m)^\d+ +openat\(AT_FDCWD, "([^"]*)", \S*(?:O_WRONLY|O_RDWR)`)
	made     = regexp.MustCompile(`(?m)^\d+ +(?:mkdirat|unlinkat|utimensat)\(AT_FDCWD, "([^"]*)"`)
	writable = regexp.MustCompile(`(?m)^\d+ +m(?:map|protect)\(.*PROT_WRITE\|PROT_EXEC`)
)

// withoutHarm are calls that a unit refuses and nobody misses.
var withoutHarm = []string{
	"prlimit64", // Go's runtime raises the limit of open files, which LimitNOFILE= has done
}

// untraced are calls that each program in Go makes all the time. To trace them takes
// longer than all else; they count as made.
var untraced = []string{"futex", "nanosleep", "clock_gettime", "epoll_pwait", "read", "write", "sched_yield", "madvise", "rt_sigprocmask", "rt_sigreturn", "tgkill", "getpid"}

// forbidden is what a process did, by its trace, that its unit would have kept it
// from. The queue of the trace stands for /var/lib/postroad.
func forbidden(sets map[string][]string, unit, trace, queue string) []string {
	found := make(map[string]bool)
	allowed := allowedCalls(sets, unit)
	calls := slices.Clone(untraced)
	for _, m := range called.FindAllStringSubmatch(trace, -1) {
		calls = append(calls, m[1])
	}
	for _, call := range calls {
		if !allowed[call] && !slices.Contains(withoutHarm, call) {
			found["SystemCallFilter= refuses "+call] = true
		}
	}
	families := strings.Fields(strings.Join(values(unit, "RestrictAddressFamilies"), " "))
	for _, m := range sockets.FindAllStringSubmatch(trace, -1) {
		if !slices.Contains(families, m[1]) {
			found["RestrictAddressFamilies= refuses "+m[1]] = true
		}
	}
	paths := slices.Contains(values(unit, "ReadWritePaths"), "/var/lib/postroad")
	for _, m := range slices.Concat(opened.FindAllStringSubmatch(trace, -1), made.FindAllStringSubmatch(trace, -1)) {
		if m[1] != "/dev/null" && (!paths || !strings.HasPrefix(m[1], queue+"/")) {
			found["ProtectSystem=strict does not let it write "+m[1]] = true
		}
	}
	if writable.MatchString(trace) {
		found["MemoryDenyWriteExecute= refuses memory that is written and run"] = true
	}
	if len(calls) < 100 {
		found["the trace is empty"] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// values are those of a setting, line by line.
func values(unit, key string) []string {
	var found []string
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			found = append(found, value)
		}
	}
	return found
}

// allowedCalls reads the filter as systemd does: the first line says whether it lists
// what is allowed, the others add, or with ~ take away.
func allowedCalls(sets map[string][]string, unit string) map[string]bool {
	allowed := make(map[string]bool)
	for _, line := range values(unit, "SystemCallFilter") {
		names, less := strings.CutPrefix(line, "~")
		for name := range strings.FieldsSeq(names) {
			calls := []string{name}
			if strings.HasPrefix(name, "@") {
				calls = sets[name]
			}
			for _, call := range calls {
				allowed[call] = !less
			}
		}
	}
	for _, call := range sets["@default"] { // always, systemd.exec(5)
		allowed[call] = true
	}
	return allowed
}

// knowsItsAddress: a stamp asks the kernel for its addresses, by AF_NETLINK.
func knowsItsAddress(t *testing.T, p *process, at string) {
	t.Helper()
	await(t, p, "its address", func(ctx context.Context) error {
		text, err := answer(ctx, http.MethodGet, "http://"+at+"/default", "", http.StatusOK)
		if err == nil && strings.Contains(text, `"ip":""`) {
			return fmt.Errorf("no address: %s", text)
		}
		return err
	})
}
