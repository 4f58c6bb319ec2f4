package policy

import "math"

// Hashing is the same in every process, so that two doors with the same origins
// send a key to the same one.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211

	// weyl is 2^64 divided by the golden ratio: multiples of it spread over the
	// circle more evenly than chance does.
	weyl = 0x9e3779b97f4a7c15

	spillSalt = 0x8f1bbcdc62c1d6a5
	admitSalt = 0x5a8279996ed9eba1
)

func hashBytes[T string | []byte](b T) uint64 {
	h := uint64(fnvOffset)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * fnvPrime
	}
	return mix(h)
}

// mix makes every bit of x count for every bit of the result (the finalizer of
// SplitMix64, Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps x to a number from 0 up to, not including, 1.
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// score is how much an origin of this weight wants a key: the origin with the
// highest gets it. Each origin's score depends on nothing but itself, so that a
// change of one moves only keys to it or away from it, and each wins in
// proportion to its weight (weighted rendezvous hashing: Schindelhauer and
// Schomaker 2005, in the form weight / -ln(u)).
func score(key, origin uint64, weight float64) float64 {
	u := (float64(mix(key^origin)>>11) + 0.5) / (1 << 53) // never 0, never 1
	return weight / -math.Log(u)
}
