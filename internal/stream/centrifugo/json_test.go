package centrifugo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// depthOf is how deep JSON is nested.
func depthOf(t testing.TB, value []byte) int {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(value))
	depth, most := 0, 0
	for {
		token, err := d.Token()
		if err != nil {
			return most
		}
		if c, ok := token.(json.Delim); ok {
			depth += map[json.Delim]int{'{': 1, '[': 1, '}': -1, ']': -1}[c]
			most = max(most, depth)
		}
	}
}

// checkIsJSON compares isJSON with the standard library.
func checkIsJSON(t testing.TB, value []byte) {
	t.Helper()
	want := json.Valid(value) && utf8.Valid(value) && depthOf(t, value) <= maxDepth
	got, lines := isJSON(value)
	if got != want {
		t.Fatalf("%q: JSON %v, want %v", value, got, want)
	}
	if got && lines != (bytes.IndexByte(value, '\n') >= 0) {
		t.Fatalf("%q: line ends %v", value, lines)
	}
}

var jsonSeeds = []string{
	"", " ", "{}", "[]", "[[]]", "{\"a\":{}}", `{"a":1,"b":[true,false,null,-0.5e+10,"x"]}`, "\n1\n", "{]", "[}", "[1,]", `{"a":1,}`, `{,}`, `{"a"}`,
	`{"a":}`, `{1:2}`, "01", "-", "1.", "1e", "1e+", ".5", "+1", "tru", "truex", "nul", `"`, `"\`, `"\u12"`, `"\u123g"`, `"\x"`, `"a\"b\\c\/\b\f\n\r\té"`,
	"\"\x1f\"", "\"\x7f\"", "\"é€😀\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "1 2", "{} []", "\x00", "1\x00", "[1\n,\n2]", "\"0123456\x01\"", `"01234567\"`, `"0123456789abcdef`,
	`{"a":"` + "0123456789" + `","b":"` + "01234567" + `"}`, "\u2028", "\ufeff{}", strings.Repeat("[", 256) + strings.Repeat("]", 256), strings.Repeat("[", 257) + strings.Repeat("]", 257),
	strings.Repeat(`{"a":`, 256) + "1" + strings.Repeat("}", 256), strings.Repeat(`[{"a":`, 128) + "1" + strings.Repeat("}]", 128),
	strings.Repeat(`[{"a":`, 128) + "[]" + strings.Repeat("}]", 128),
}

func TestIsJSON(t *testing.T) {
	for _, s := range jsonSeeds {
		checkIsJSON(t, []byte(s))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	// What is nearly JSON: seeds with a byte changed, put in or taken out.
	const alphabet = "{}[]\",:\\0123456789-+.eEtrufalsn \n\t\x00\x1f\x80\xc3\xa9"
	for range 30_000 {
		b := []byte(jsonSeeds[rng.IntN(len(jsonSeeds))])
		for range 1 + rng.IntN(3) {
			if len(b) == 0 {
				break
			}
			at, c := rng.IntN(len(b)), alphabet[rng.IntN(len(alphabet))]
			switch rng.IntN(3) {
			case 0:
				b[at] = c
			case 1:
				b = append(b[:at], b[at+1:]...)
			default:
				b = append(b[:at], append([]byte{c}, b[at:]...)...)
			}
		}
		checkIsJSON(t, b)
	}
}

func FuzzIsJSON(f *testing.F) {
	for _, s := range jsonSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) { checkIsJSON(t, value) })
}

func BenchmarkIsJSON(b *testing.B) {
	for name, value := range map[string]string{
		"long string": `{"id":"tram-7","text":"` + strings.Repeat("lorem ipsum ", 40) + `"}`,
		"numbers":     `{"v":[` + strings.TrimSuffix(strings.Repeat("60.1699,24.9384,", 32), ",") + `]}`,
		"objects":     `[` + strings.TrimSuffix(strings.Repeat(`{"id":17,"name":"x"},`, 24), ",") + `]`,
	} {
		v := []byte(value)
		for how, valid := range map[string]func([]byte) bool{
			"own": func(v []byte) bool { ok, _ := isJSON(v); return ok }, "standard": json.Valid,
		} {
			b.Run(fmt.Sprintf("%s/%s", name, how), func(b *testing.B) {
				b.SetBytes(int64(len(v)))
				for b.Loop() {
					if !valid(v) {
						b.Fatal("not JSON")
					}
				}
			})
		}
	}
}
