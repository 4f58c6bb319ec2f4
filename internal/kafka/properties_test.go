package kafka

import (
	"bytes"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func TestParseProperties(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []property
		err  string
	}{
		"plain":         {"a=1\nb = 2\nc:3\nd 4\n", []property{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}, {"d", "4", 4}}, ""},
		"comments":      {"# no\n! no\n\n  a=1", []property{{"a", "1", 4}}, ""},
		"continuation":  {"a=1,\\\n   2\nb=3", []property{{"a", "1,2", 1}, {"b", "3", 3}}, ""},
		"no more lines": {"a=1\\", []property{{"a", "1", 1}}, ""},
		"escapes":       {`a\ b=\tx\u00e9\=\\`, []property{{"a b", "\txé=\\", 1}}, ""},
		"latin":         {"a=\xe9", []property{{"a", "é", 1}}, ""},
		"windows":       {"a=1\r\nb=2\r\n", []property{{"a", "1", 1}, {"b", "2", 2}}, ""},
		"no value":      {"a", []property{{"a", "", 1}}, ""},
		"equals inside": {"a=b=c;d==", []property{{"a", "b=c;d==", 1}}, ""},
		"bad unicode":   {"x=1\na=\\u12", nil, `line 2: \u must be followed by four hexadecimal digits`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseProperties([]byte(tc.text))
			if errText(err) != tc.err || !slices.Equal(got, tc.want) {
				t.Errorf("got %+v, %v; want %+v, %s", got, err, tc.want, tc.err)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// escapeProperty writes a key or value so that it is read back.
func escapeProperty(s string) string {
	var out strings.Builder
	for _, c := range s {
		switch {
		case c == '\n':
			out.WriteString(`\n`)
		case c == '\r':
			out.WriteString(`\r`)
		case c == '\t':
			out.WriteString(`\t`)
		case c == '\f':
			out.WriteString(`\f`)
		case c == 0xfffd || c > 0xff:
			out.WriteByte('?')
		case strings.ContainsRune(`\=: #!`, c):
			out.WriteString(`\` + string(c))
		default:
			out.WriteByte(byte(c))
		}
	}
	return out.String()
}

// No text makes it fail to end or lose its place; what is written is read back.
func FuzzProperties(f *testing.F) {
	f.Add("a=1\nb=2\\\n3\n", "key", "va=lue\\")
	f.Add("\\", "", "")
	f.Add("a\\u00e9 = \r\n!x", " k", " v ")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		entries, err := parseProperties([]byte(text))
		lines := 1 + strings.Count(text, "\n") + strings.Count(text, "\r")
		for _, e := range entries {
			if e.line < 1 || e.line > lines {
				t.Fatalf("line %d of %d", e.line, lines)
			}
		}
		if err != nil && entries != nil {
			t.Fatal("entries beside an error")
		}
		if key == "" {
			return
		}
		written := escapeProperty(key) + "=" + escapeProperty(value)
		got, err := parseProperties([]byte(written))
		if err != nil || len(got) != 1 {
			t.Fatalf("%q: %v, %v", written, got, err)
		}
		if escapeProperty(got[0].key) != escapeProperty(key) || escapeProperty(got[0].value) != escapeProperty(value) {
			t.Fatalf("%q is read as %q, %q", written, got[0].key, got[0].value)
		}
	})
}

// A PEM text in one line comes back with its blocks; nothing keeps it from
// ending.
func FuzzPEMText(f *testing.F) {
	f.Add("-----BEGIN A----- YWJj -----END A-----", []byte("abc"))
	f.Add("-----BEGIN -----BEGIN ", []byte{})
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		_, _ = pemRoots("x", []byte(pemText(text)))
		whole := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data}))
		block, _ := pem.Decode([]byte(pemText(strings.ReplaceAll(whole, "\n", " "))))
		if block == nil || !bytes.Equal(block.Bytes, data) {
			t.Fatalf("%q comes back as %+v", whole, block)
		}
	})
}
