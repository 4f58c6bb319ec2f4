// Package image holds the tests of the container image: of the empty base that
// it stands on, and of what deploy/images/build makes of it: one index with both
// architectures, in each the program alone, of that architecture and of the
// version that was asked for, for a user who is not root, with its SBOM. Images
// that are wrong are made and have to be found.
//
// Where there is time (make proof) it is built again elsewhere, with nothing in
// Go's cache and with settings in the environment that would change it, to the
// same digest; and pushed to a registry of this machine.
//
// The program of another architecture than the machine's is read, not run.
package image
