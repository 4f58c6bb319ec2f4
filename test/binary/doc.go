// Package binary is what the packages share whose tests drive the postroad
// binary from outside: the binary as it is shipped, built once for all tests of
// a package, one that is sabotaged, which such a test must catch, and the seed
// of what the tests choose at random.
//
// It knows nothing of what the binary does, and imports nothing of ours.
package binary
