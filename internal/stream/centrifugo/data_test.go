package centrifugo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValuesAsJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, row := range []struct {
		name, value, want, tag string
	}{
		{"object", `{"a":1}`, `{"a":1}`, ""},
		{"number", `-1.5e3`, `-1.5e3`, ""},
		{"string", `"x\n"`, `"x\n"`, ""},
		{"line ends go, since they separate messages", "{\n\"a\":\r\n1\n}", "{\"a\":\r1}", ""},
		{"text", `say "hi"`, `"say \"hi\""`, dataText},
		{"text with controls", "a\\b\x01\n\t", `"a\\b\u0001\n\u0009"`, dataText},
		{"two values are text", `{} {}`, `"{} {}"`, dataText},
		{"empty", "", `""`, dataText},
		{"separators of lines", "\u2028", "\"\u2028\"", dataText},
		{"bytes", "\xff\x00", `"/wA="`, dataBase64},
		{"JSON that is not UTF-8", "\"\xff\"", `"Iv8i"`, dataBase64},
		{"as deep as may be", deep(maxDepth), deep(maxDepth), ""},
		{"deeper", deep(maxDepth + 1), `"` + deep(maxDepth+1) + `"`, dataText},
		{"deep in a string only", `"` + strings.Repeat(`\"[`, 400) + `"`, `"` + strings.Repeat(`\"[`, 400) + `"`, ""},
	} {
		got, tag := appendJSONData([]byte("before "), []byte(row.value))
		if string(got) != "before "+row.want || tag != row.tag {
			t.Errorf("%s: %q with tag %q, want %q with %q", row.name, got, tag, row.want, row.tag)
		}
	}
	if got, tag := appendJSONData(nil, nil); string(got) != "null" || tag != "" {
		t.Errorf("a tombstone: %q with tag %q", got, tag)
	}
}

// Whatever a value is, what JSON clients are sent is one line of JSON in UTF-8
// from which the value can be had again.
func FuzzValueAsJSON(f *testing.F) {
	for _, s := range []string{"", "{}", "{\n}", "text", "\xff", `"\ud800"`, "\u2028", strings.Repeat("[", 300)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if value == nil {
			value = []byte{}
		}
		data, tag := appendJSONData(nil, value)
		if !json.Valid(data) || !utf8.Valid(data) || bytes.IndexByte(data, '\n') >= 0 {
			t.Fatalf("%q became %q", value, data)
		}
		var back string
		switch tag {
		case "":
			if want := bytes.ReplaceAll(value, []byte("\n"), nil); !bytes.Equal(data, want) {
				t.Fatalf("%q became %q", value, data)
			}
			return
		case dataText, dataBase64:
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("tag %q", tag)
		}
		if tag == dataBase64 {
			raw, err := base64.StdEncoding.DecodeString(back)
			if err != nil {
				t.Fatal(err)
			}
			back = string(raw)
		}
		if back != string(value) {
			t.Fatalf("%q became %q with tag %q", value, data, tag)
		}
	})
}
