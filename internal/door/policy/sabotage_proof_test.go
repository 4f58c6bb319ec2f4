//go:build proof

package policy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProofSabotaged takes one protective clause after the other out of the
// package, and expects a test to notice.
func TestProofSabotaged(t *testing.T) {
	for _, twin := range []struct{ name, file, from, to, tests string }{
		{"a tried origin is picked again", "pick.go", "out := v.maskOf(a.Tried)", "out := v.maskOf(nil)", "TestTried"},
		{"a cookie leads back to a stand-in", "pick.go", "if v.standsIn(bit, out, now) {", "if false {", "TestChoice"},
		{"a cookie leads away before the ramp is over", "pick.go", "c.ramp(now) >= 1 {", "true {", "TestSticky"},
		{"a hedge goes to anybody", "pick.go", "out |= ^v.hedge(g.conf.Load(), now, g.stalled(now))", "", "TestHedge"},
		{"no last resort", "pick.go", "if k < 0 && !a.Hedge {", "if false {", "TestTried"},
		{"the ramp admits everything", "view.go", "if now <= c.from {", "if now >= c.from {\nreturn 1\n}\nif now <= c.from {", "TestRamp"},
		{"the ramp draws anew for each request of a key", "pick.go", "return unit(mix(d.key^c.origin.seed^admitSalt)) < ramp", "return unit(mix(d.turn^c.origin.seed^admitSalt)) < ramp", "TestRamp"},
		{"affinity depends on who else is there", "hash.go", "u := (float64(mix(key^origin)>>11) + 0.5) / (1 << 53)", "u := (float64(mix(key)>>11) + 0.5) / (1 << 53)", "TestAffinity"},
		{"held ones are picked in panic", "view.go", "if mode == Disabled || o.held {", "if mode == Disabled {", "TestTried"},
		{"disabled ones are picked in panic", "view.go", "if mode == Disabled || o.held {", "if o.held {", "TestChoice"},
		{"hysteresis without time", "view.go", "if now >= o.turnSince+after {", "if now >= o.turnSince {", "TestHysteresis"},
		{"hysteresis without margin", "view.go", "want = took <= fastest+sense+margin", "want = took <= fastest+sense", "TestHysteresis"},
		{"the clock of hysteresis is not set back", "view.go", "\t\to.turning = false\n\t\treturn never\n", "\t\treturn never\n", "TestHysteresis"},
		{"judged before others are known", "view.go", "case !o.decided && !known:", "case !o.decided && !known && !o.pace.known():", "TestChoice"},
		{"passing probes override requests", "health.go", "case now < o.until && !lonely:", "case false:", "TestPassing|TestModel"},
		{"isolation protects nobody in panic", "health.go", "case now < o.until && !lonely:", "case now < o.until:", "TestPanic"},
		{"isolations do not grow", "health.go", "math.Pow(i.Growth, float64(n-1))", "math.Pow(i.Growth, 0*float64(n))", "TestPassing|TestModel|TestSimFlapping"},
		{"isolations grow without end", "health.go", "if !(grown < float64(i.Max)) {", "if false {", "TestPassing|TestModel"},
		{"isolations are never forgotten", "health.go", "now-o.since >= rule.Forget", "now-o.since < 0", "TestPassing|TestModel"},
		{"a failing request does not stop the return", "flight.go", "return o.hopeful.Load(), false", "return false, false", "TestFailingRequests|TestModel"},
		{"flights from before an isolation are judged", "flight.go", "if f.begun < t.judgedFrom {\n\t\treturn false, false", "if false {\n\t\treturn false, false", "TestFlightsFrom"},
		{"their silence counts", "flight.go", "f.patient || f.begun < t.judgedFrom {", "f.patient {", "TestFlightsFrom"},
		{"their latency counts", "flight.go", "if f.begun >= t.judgedFrom { // what", "if true { // what", "TestFlightsFrom"},
		{"a flight ends twice", "flight.go", "if f.ended {\n\t\treturn false, false", "if false {\n\t\treturn false, false", "TestRequestsIsolate"},
		{"a silent flight counts twice", "flight.go", "if f.silent || f.byted", "if f.byted", "TestSilence"},
		{"a byte does not end silence", "flight.go", "t.silent = 0\n\tt.quietSince = now", "t.quietSince = now", "TestSilence"},
		{"silence needs no time", "health.go", "if now < since+h.SilenceTime {", "if false {", "TestSilence"},
		{"all silent: the first is isolated", "health.go", "return others > 0\n", "return false\n", "TestSilenceOfAll"},
		{"silence while the machine stood still", "flight.go", "if g.stalled(now) {\n\t\treturn", "if false {\n\t\treturn", "TestSilence"},
		{"unreachable while the machine stood still", "flight.go", "if r == Unreachable && !o.group.stalled(now) {", "if r == Unreachable {", "TestStall"},
		{"a lost packet isolates", "flight.go", "if r == Unreachable && !o.group.stalled(now) {", "if (r == Unreachable || r == Unopened) && !o.group.stalled(now) {", "TestRequestsIsolate|TestSimLoss"},
		{"a connection that does not open is no failure", "flight.go", "return r == Unreachable || r == Unopened || r == Broken ||", "return r == Unreachable || r == Broken ||", "TestRequestsIsolate|TestSimVanished"},
		{"every probe is excused", "health.go", "case g.stalled(now) && !o.excused:", "case g.stalled(now):", "TestStall"},
		{"no probe is excused", "health.go", "case g.stalled(now) && !o.excused:", "case false:", "TestStall"},
		{"an announced drain is a failure", "health.go", "case p.Said.leaves():", "case false:", "TestAnnounced"},
		{"a planned stop makes isolations longer", "health.go", "if o.mode().out() { //", "if false { //", "TestAnnounced"},
		{"back from a drain without a ramp", "health.go", "if o.shown.out() && to == Healthy &&", "if false &&", "TestOperatorVerbs|TestModel"},
		{"hedges though this machine stood still", "hedge.go", "v.panics || stalled {", "v.panics {", "TestHedge"},
		{"hedges to who is full", "hedge.go", "if o.strained.Load() || int64(now) < o.slowUntil.Load() || o.overdue(now) {", "if int64(now) < o.slowUntil.Load() || o.overdue(now) {", "TestHedge"},
		{"hedges to who is slow", "hedge.go", "if o.strained.Load() || int64(now) < o.slowUntil.Load() || o.overdue(now) {", "if o.strained.Load() || o.overdue(now) {", "TestHedge"},
		{"hedges to who is quiet", "hedge.go", "if o.strained.Load() || int64(now) < o.slowUntil.Load() || o.overdue(now) {", "if o.strained.Load() || int64(now) < o.slowUntil.Load() {", "TestHedge|TestSimNoStorm"},
		{"those given up are no measure", "flight.go", "took > instant(o.delay.Load()) {", "false {", "TestGivenUp"},
		{"what was slow is never forgotten", "latency.go", "if l.total >= halveAt {", "if false {", "TestHedgeDelay"},
		{"the budget is not asked", "budget.go", "if b.tokens < 1+reserve {", "if false {", "TestBudget"},
		{"time and POSTs both fill the budget", "budget.go", "paid := min(earned, b.advance)", "paid := 0.0", "TestBudget"},
		{"hedges leave nothing", "budget.go", "if o.answers() {", "if false {", "TestHedgesLeave"},
		{"half an announcement counts", "announce.go", "return Announcement{}, fmt.Errorf(\"%w: fill", "return a, fmt.Errorf(\"%w: fill", "TestParse"},
		{"a lost wake", "flight.go", "g.wake(since + conf.Health.SilenceTime)", "_ = since", "TestSilence|TestSimBlackHole"},
		{"a removed origin is told of", "health.go", "if o.gone.Load() {\n\t\treturn", "if false {\n\t\treturn", "TestUpdate"},
		{"events lock whoever is told", "event.go", "if e.telling {\n\t\treturn", "if false {\n\t\treturn", "TestEventsMay"},
	} {
		t.Run(twin.name, func(t *testing.T) { sabotage(t, twin.file, twin.from, twin.to, twin.tests) })
	}
}

// sabotage runs tests of this package with a part of a source replaced, and fails
// if they pass.
func sabotage(t *testing.T, file, from, to, tests string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), from) != 1 {
		t.Fatalf("%s does not have %q just once", file, from)
	}
	tmp := t.TempDir()
	changed, overlay := filepath.Join(tmp, "changed.go"), filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout=120s", "-overlay", overlay, "-run", "^("+tests+")", ".")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("nobody noticed:\n%s", out)
	}
	if !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic: ") && !strings.Contains(string(out), "fatal error: ") {
		t.Fatalf("it does not even build:\n%s", out)
	}
}
