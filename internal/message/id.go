package message

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// Hash is the first 128 bits of a SHA-256.
type Hash [16]byte

// IsZero reports whether h is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// ID is a dedupe id: 128 bits, written as a UUID of version 8 (RFC 9562, the
// version for ids made by an application's own rule).
type ID [16]byte

// IsZero reports whether id is unset.
func (id ID) IsZero() bool { return id == ID{} }

// String writes the id as a UUID in lower case.
func (id ID) String() string { return string(id.append(make([]byte, 0, 36))) }

// MarshalText writes the id as String does.
func (id ID) MarshalText() ([]byte, error) { return id.append(make([]byte, 0, 36)), nil }

func (id ID) append(b []byte) []byte {
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// ParseID reads a UUID in its 36-character form, in either letter case. The
// version is not looked at. The error matches ErrInvalid.
func ParseID(s string) (ID, error) {
	var id ID
	bad := func() error { return fmt.Errorf("id %q is not a UUID: %w", s, ErrInvalid) } // made only where it is needed: readers parse one for each record
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, bad()
	}
	plain := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(plain)); err != nil {
		return ID{}, bad()
	}
	return id, nil
}

// DeriveID computes the dedupe id of a message from the principal, the topic,
// the idempotency key, the digest and the index in the request. The same
// request at two stamps gives the same ids, and two different messages never
// share one but by a collision of 122 bits of SHA-256.
//
// Each part is preceded by its length, so that no two lists of parts run
// together into the same bytes.
func DeriveID(principal, topic, key string, digest Hash, index int) ID {
	h := NewHasher("postroad dedupe id 1")
	h.String(principal)
	h.String(topic)
	h.String(key)
	h.Bytes(digest[:])
	h.Uint(uint64(index))
	id := ID(h.Sum())
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}

// Hasher hashes a list of parts, each with its length, under a domain, so that
// hashes made for different purposes never coincide. It is used once: Sum ends
// it.
type Hasher struct {
	h   hash.Hash
	buf [64]byte // what passes through an interface would be allocated each time
	sum [sha256.Size]byte
}

var hashers = sync.Pool{New: func() any { return &Hasher{h: sha256.New()} }}

// NewHasher starts a hash for the purpose that domain names.
func NewHasher(domain string) *Hasher {
	h := hashers.Get().(*Hasher)
	h.h.Reset()
	h.String(domain)
	return h
}

// Bytes adds one part.
func (h *Hasher) Bytes(b []byte) {
	h.Uint(uint64(len(b)))
	h.h.Write(b)
}

// String adds one part.
func (h *Hasher) String(s string) {
	h.Uint(uint64(len(s)))
	for len(s) > 0 {
		n := copy(h.buf[:], s)
		h.h.Write(h.buf[:n])
		s = s[n:]
	}
}

// Uint adds a number.
func (h *Hasher) Uint(n uint64) {
	binary.BigEndian.PutUint64(h.buf[:8], n)
	h.h.Write(h.buf[:8])
}

// Sum returns the hash of the parts and ends the Hasher.
func (h *Hasher) Sum() Hash {
	sum := Hash(h.h.Sum(h.sum[:0])[:16])
	hashers.Put(h)
	return sum
}

// mintedPrefix begins every idempotency key that Postroad made itself, so that
// any gateway knows one when it comes back with a repeated request.
const mintedPrefix = "postroad-minted-"

// MintKey returns a new idempotency key of 128 random bits for a request whose
// client sent none.
func MintKey() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, crypto/rand aborts the program first
	return mintedPrefix + hex.EncodeToString(b[:])
}

// IsMinted reports whether key has the form of MintKey's. A minted key says
// nothing that would be worth an index entry, and a client that presents one
// is repeating a request.
func IsMinted(key string) bool {
	hexed, ok := strings.CutPrefix(key, mintedPrefix)
	return ok && len(hexed) == 32 && strings.Trim(hexed, "0123456789abcdef") == ""
}
