package message

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseReceipt(t *testing.T) {
	id, err := ParseID(exampleID)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]Receipt{
		exampleID + "." + lane + ".1":                    {id, Place{lane, 1}},
		exampleID + "." + lane + ".1009":                 {id, Place{lane, 1009}},
		exampleID + "." + lane + ".18446744073709551615": {id, Place{lane, math.MaxUint64}},
	} {
		got, err := ParseReceipt(s)
		if err != nil || got != want {
			t.Errorf("ParseReceipt(%q) = %v, %v", s, got, err)
		}
		if got.String() != s {
			t.Errorf("String is %q, want %q", got, s)
		}
	}
	for s, part := range map[string]string{
		"":                                "receipt",
		".":                               "receipt",
		exampleID:                         "receipt",
		exampleID + ".":                   "receipt",
		exampleID + "." + lane:            "receipt",
		"x." + lane + ".1":                "id",
		"." + lane + ".1":                 "id",
		exampleID + ".." + lane:           "lane",
		exampleID + "." + lane[1:] + ".1": "lane",
		exampleID + "." + strings.ToLower(lane) + ".1":   "lane",
		exampleID + ".../../../../../etc/passwd.1":       "lane",
		exampleID + "." + lane + ".":                     "seq",
		exampleID + "." + lane + ".0":                    "seq",
		exampleID + "." + lane + ".01":                   "seq",
		exampleID + "." + lane + ".+1":                   "seq",
		exampleID + "." + lane + ".-1":                   "seq",
		exampleID + "." + lane + ".1_0":                  "seq",
		exampleID + "." + lane + ".0x1":                  "seq",
		exampleID + "." + lane + ".1.":                   "seq",
		exampleID + "." + lane + ".1 ":                   "seq",
		exampleID + "." + lane + ".1\n":                  "seq",
		exampleID + "." + lane + ".18446744073709551616": "seq",
	} {
		got, err := ParseReceipt(s)
		if !errors.Is(err, ErrInvalid) || got != (Receipt{}) {
			t.Errorf("ParseReceipt(%q) = %v, %v", s, got, err)
			continue
		}
		if !strings.Contains(err.Error(), part) {
			t.Errorf("ParseReceipt(%q): %v does not name the %s", s, err, part)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(exampleID + "." + lane + ".17")
	f.Add(exampleID + "." + lane + ".00")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReceipt(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || r != (Receipt{}) {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		if r.Seq == 0 || !ValidLane(r.Lane) {
			t.Fatalf("%q is read as %+v", s, r)
		}
		if back := r.String(); !strings.EqualFold(back, s) || back[36:] != s[36:] {
			t.Fatalf("%q becomes %q", s, back)
		}
	})
}

func TestValidLane(t *testing.T) {
	for s, want := range map[string]bool{
		lane:                               true,
		"00000000000000000000000000":       true,
		"7ZZZZZZZZZZZZZZZZZZZZZZZZZ":       true,
		"80000000000000000000000000":       false, // over 128 bits
		"0000000000000000000000000":        false,
		"000000000000000000000000000":      false,
		"":                                 false,
		"0000000000000000000000000I":       false,
		"0000000000000000000000000L":       false,
		"0000000000000000000000000O":       false,
		"0000000000000000000000000U":       false,
		"0000000000000000000000000a":       false,
		"0000000000000000000000000/":       false,
		"0000000000000000000000000.":       false,
		"000000000000000000000000\xc3\xa9": false,
		"0000000000000000000000000\x00":    false,
	} {
		if ValidLane(s) != want {
			t.Errorf("ValidLane(%q) = %v", s, !want)
		}
	}
}

func TestValidTopic(t *testing.T) {
	for name, want := range map[string]bool{
		"messages": true, "a": true, "A-z_0.9": true, "...": true, "..a": true, "-": true, "_": true,
		strings.Repeat("t", 249): true,
		strings.Repeat("t", 250): false,
		"":                       false, ".": false, "..": false, "a/b": false, "a b": false, "a\n": false, "a\x00": false,
		"größe": false, "a:b": false, "a%2fb": false, "a\\b": false, "\xff": false,
	} {
		if ValidTopic(name) != want {
			t.Errorf("ValidTopic(%q) = %v", name, !want)
		}
	}
	for c := range 256 {
		kafka := strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", rune(c))
		if got := ValidTopic("t" + string([]byte{byte(c)})); got != kafka {
			t.Errorf("byte %#x in a topic: %v, want %v", c, got, kafka)
		}
	}
}
