package azure

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A flip is a change of the code that has to make one assertion fail.
type flip struct {
	// test is the test file, module the folder that it tests.
	test, module string
	line         int
	// run is the run block, says what is printed when the assertion fails.
	run, says string
	// head is what stands before the first run block of the test file, body what
	// stands in its own, and after it on its closing line.
	head, body string
	// file is relative to module. The nth place that reads like was, white space
	// apart, becomes is; where nth is 0 there must be just one.
	file, was, is string
	nth           int
}

// missingFailure is what is printed where a run should have failed and did not.
const missingFailure = "Missing expected failure"

var (
	runLine     = regexp.MustCompile(`^run "([^"]+)" \{$`)
	assertLine  = regexp.MustCompile(`^\s+assert \{$`)
	messageLine = regexp.MustCompile(`^\s+error_message\s*=\s*"(.*)"$`)
	flipLine    = regexp.MustCompile(`^\s*# flip (.+)$`)
)

// A reading is what is found in a test file, and what is wrong with it.
type reading struct {
	flips    []flip
	asserts  int
	problems []string
}

// read reads a test file. It knows the shape that `tofu fmt` gives such files, and
// no more of the language.
func read(path string) (reading, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return reading{}, err
	}
	r := reader{path: path, module: filepath.Dir(filepath.Dir(path)), messages: make(map[string]bool)}
	for i, text := range strings.Split(string(data), "\n") {
		r.line = i + 1
		r.take(text)
	}
	return r.out, nil
}

type reader struct {
	path, module string
	line         int
	run          string
	inAssert     bool
	// pending are the flips of the assertion or run that is being read.
	pending  []flip
	expects  bool
	inRun    int
	messages map[string]bool
	// head is what stands before the first run, body what stands in the one that is
	// being read.
	head, body strings.Builder
	began      bool
	// ofRun are the flips of body that are settled.
	ofRun []flip
	out   reading
}

func (r *reader) take(text string) {
	r.keep(text)
	switch {
	case flipLine.MatchString(text):
		f, err := parse(flipLine.FindStringSubmatch(text)[1])
		if err != nil {
			r.problem(err.Error())
			return
		}
		f.test, f.module, f.line = r.path, r.module, r.line
		r.pending = append(r.pending, f)
	case runLine.MatchString(text):
		r.run, r.expects, r.inRun = runLine.FindStringSubmatch(text)[1], false, 0
	case assertLine.MatchString(text):
		r.inAssert = true
		r.inRun++
	case strings.HasPrefix(strings.TrimSpace(text), "expect_failures"):
		r.expects = true
		r.settle(missingFailure)
	case r.inAssert && messageLine.MatchString(text):
		message := messageLine.FindStringSubmatch(text)[1]
		if r.messages[r.run+message] {
			r.problem("a second assertion says the same")
		}
		r.messages[r.run+message] = true
		r.out.asserts++
		r.settle(message)
		r.inAssert = false
	case text == "}" && r.run != "":
		if !r.expects && r.inRun == 0 {
			r.problem("run " + r.run + " asserts nothing")
		}
		for _, f := range r.ofRun {
			f.head, f.body = r.head.String(), r.body.String()
			r.out.flips = append(r.out.flips, f)
		}
		r.run, r.ofRun = "", nil
	}
}

// keep keeps a line for what has to be run by itself.
func (r *reader) keep(text string) {
	switch {
	case runLine.MatchString(text):
		r.began = true
		r.body.Reset()
	case r.run != "":
		r.body.WriteString(text + "\n")
	case !r.began:
		r.head.WriteString(text + "\n")
	}
}

// settle gives the flips that were read to what has to fail.
func (r *reader) settle(says string) {
	if len(r.pending) == 0 {
		r.problem(fmt.Sprintf("%q has no change that makes it fail", says))
	}
	for _, f := range r.pending {
		f.run, f.says = r.run, says
		r.ofRun = append(r.ofRun, f)
	}
	r.pending = nil
}

func (r *reader) problem(text string) {
	r.out.problems = append(r.out.problems, fmt.Sprintf("%s:%d: %s", r.path, r.line, text))
}

// parse reads "FILE | WAS | IS" or "FILE | WAS | IS | N", in which \n is a line feed.
func parse(text string) (flip, error) {
	parts := strings.Split(text, " | ")
	if len(parts) != 3 && len(parts) != 4 {
		return flip{}, fmt.Errorf("a flip is FILE | WAS | IS | N, not %q", text)
	}
	f := flip{file: parts[0], was: parts[1], is: strings.ReplaceAll(parts[2], `\n`, "\n")}
	if len(parts) == 4 {
		n, err := strconv.Atoi(parts[3])
		if err != nil || n < 1 {
			return flip{}, fmt.Errorf("%q is no occurrence", parts[3])
		}
		f.nth = n
	}
	if f.was == f.is {
		return flip{}, fmt.Errorf("%q changes nothing", text)
	}
	return f, nil
}

// change returns source with the flip made.
func (f flip) change(source string) (string, error) {
	var words []string
	for _, w := range strings.Fields(f.was) {
		words = append(words, regexp.QuoteMeta(w))
	}
	// What was must not be the end or the beginning of a longer word.
	pattern := strings.Join(words, `\s+`)
	if isWord(f.was[0]) {
		pattern = `\b` + pattern
	}
	if isWord(f.was[len(f.was)-1]) {
		pattern += `\b`
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	found := re.FindAllStringIndex(source, -1)
	nth := f.nth
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("%s has no %q", f.file, f.was)
	case nth == 0 && len(found) > 1:
		return "", fmt.Errorf("%s has %q %d times: say which", f.file, f.was, len(found))
	case nth == 0:
		nth = 1
	case nth > len(found) || len(found) == 1:
		return "", fmt.Errorf("%s has %q %d times, so there is no sense in occurrence %d", f.file, f.was, len(found), nth)
	}
	at := found[nth-1]
	return source[:at[0]] + f.is + source[at[1]:], nil
}

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
