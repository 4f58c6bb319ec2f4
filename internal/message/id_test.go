package message

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const exampleID = "0a1b2c3d-4e5f-8071-92a3-b4c5d6e7f809"

func TestParseID(t *testing.T) {
	want := ID{0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x80, 0x71, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8, 0x09}
	for _, s := range []string{exampleID, strings.ToUpper(exampleID)} {
		id, err := ParseID(s)
		if err != nil || id != want {
			t.Errorf("ParseID(%q) = %x, %v", s, id, err)
		}
		if id.String() != exampleID {
			t.Errorf("String is %q", id)
		}
	}
	for _, s := range []string{
		"", "x", exampleID[1:], exampleID + "0", strings.ReplaceAll(exampleID, "-", ""),
		"{" + exampleID + "}", "urn:uuid:" + exampleID,
		strings.Replace(exampleID, "-", "0", 1), strings.Replace(exampleID, "a", "g", 1),
		strings.Replace(exampleID, "0a", "é", 1), strings.Replace(exampleID, "0a1b", "-a1b", 1),
		" " + exampleID[1:], exampleID[:35] + "\n", exampleID[:35] + "\x00",
	} {
		if id, err := ParseID(s); !errors.Is(err, ErrInvalid) || !id.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v", s, id, err)
		}
	}
}

func TestIDAsJSON(t *testing.T) {
	id, err := ParseID(exampleID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]ID{"id": id})
	if want := `{"id":"` + exampleID + `"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(exampleID)
	f.Add("00000000-0000-0000-0000-00000000000")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || !id.IsZero() {
				t.Fatalf("%v, %v", id, err)
			}
			return
		}
		if id.String() != strings.ToLower(s) {
			t.Fatalf("%q is read as %s", s, id)
		}
	})
}

type parts struct {
	principal, topic, key string
	digest                Hash
	index                 int
}

func (p parts) id() ID { return DeriveID(p.principal, p.topic, p.key, p.digest, p.index) }

// These ids are in hubs and in clients' hands: the rule never changes. They
// were computed by another program: the first 16 bytes of the SHA-256 of the
// parts, "postroad dedupe id 1" before them, each after its length in 8 bytes,
// and the index in 8 bytes; version and variant set.
func TestDeriveIDGolden(t *testing.T) {
	for _, row := range []struct {
		parts
		want string
	}{
		{parts{}, "57eed325-7f0f-839a-b3a4-0f6f59ce8a8e"},
		{parts{principal: "site", topic: "messages", key: "key", digest: Hash{1, 2, 3}}, "878becd4-7320-83b3-ac2e-f40905ab3d43"},
		{parts{principal: "site", topic: "messages", key: "key", digest: Hash{1, 2, 3}, index: 1}, "f1960b8a-dffe-86ae-9180-fd54c2ac428d"},
		{parts{principal: "größe", topic: "a.b", key: strings.Repeat("k", 255), digest: Hash{15: 0xff}, index: 9999}, "2138b644-a113-8150-908b-c5d50dda4cd5"},
	} {
		if got := row.id().String(); got != row.want {
			t.Errorf("DeriveID of %+v is %s, want %s", row.parts, got, row.want)
		}
	}
}

func TestDeriveIDIsAVersion8UUID(t *testing.T) {
	for i := range 1000 {
		id := parts{key: "k", index: i}.id()
		if s := id.String(); s[14] != '8' || strings.IndexByte("89ab", s[19]) < 0 {
			t.Fatalf("id %s", s)
		}
		if again := (parts{key: "k", index: i}).id(); again != id {
			t.Fatalf("the same parts give %s and %s", id, again)
		}
	}
}

// No two lists of parts run together into the same id: parts that joined to
// each other give the same text have different ids, whatever stands between.
func TestDeriveIDPartsDoNotRunTogether(t *testing.T) {
	digest := func(s string) Hash {
		h := NewHasher("test")
		h.String(s)
		return h.Sum()
	}
	seen := map[ID]parts{}
	add := func(p parts) {
		if other, taken := seen[p.id()]; taken && other != p {
			t.Errorf("%+v and %+v have one id", p, other)
		}
		seen[p.id()] = p
	}
	for _, joined := range []string{"abc", "aaa", "\x00\x00\x00", "a\x00\x00\x00\x00\x00\x00\x00\x01b", "größe"} {
		for i := range len(joined) + 1 {
			for j := i; j <= len(joined); j++ {
				for index := range 3 {
					for _, d := range []Hash{{}, digest("1"), digest("2")} {
						add(parts{joined[:i], joined[i:j], joined[j:], d, index})
					}
				}
			}
		}
	}
	if len(seen) < 500 {
		t.Errorf("only %d lists compared", len(seen))
	}
}

func TestHasherDomains(t *testing.T) {
	sum := func(domain string, in ...string) Hash {
		h := NewHasher(domain)
		for _, s := range in {
			h.String(s)
		}
		return h.Sum()
	}
	seen := map[Hash]string{}
	for _, row := range [][]string{{"a"}, {"b"}, {"a", ""}, {"a", "", ""}, {"a", "b"}, {"ab"}, {"a", "b", "c"}, {"a", "bc"}, {"ab", "c"}, {""}} {
		h := sum(row[0], row[1:]...)
		if other, taken := seen[h]; taken {
			t.Errorf("%q and %s have one hash", row, other)
		}
		seen[h] = fmt.Sprintf("%q", row)
		if h.IsZero() || sum(row[0], row[1:]...) != h {
			t.Errorf("hash of %q is %x, then another", row, h)
		}
	}
	h := NewHasher("a")
	h.Bytes([]byte("b"))
	if h.Sum() != sum("a", "b") {
		t.Error("Bytes and String differ")
	}
	if h.Sum() != sum("a", "b") {
		t.Error("Sum changes the hash")
	}
}

func TestMintedKeys(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key := MintKey()
		if seen[key] || !IsMinted(key) || len(key) != len(mintedPrefix)+32 {
			t.Fatalf("minted %q", key)
		}
		seen[key] = true
	}
	hexed := strings.Repeat("0f", 16)
	for key, want := range map[string]bool{
		mintedPrefix + hexed:                  true,
		mintedPrefix + hexed[1:]:              false,
		mintedPrefix + hexed + "0":            false,
		mintedPrefix + "g" + hexed[1:]:        false,
		mintedPrefix:                          false,
		hexed:                                 false,
		"":                                    false,
		"x" + mintedPrefix + hexed:            false,
		"Postroad-minted-" + hexed:            false,
		mintedPrefix + " " + hexed[1:]:        false,
		mintedPrefix + strings.ToUpper(hexed): false,
	} {
		if IsMinted(key) != want {
			t.Errorf("IsMinted(%q) = %v", key, !want)
		}
	}
}
