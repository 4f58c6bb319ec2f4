// Package image holds the tests of the container image: of the empty base that
// it stands on, and, where there is time (make proof), of what deploy/images/build
// makes: two builds with one digest, both architectures with the same program,
// nothing in it but that program, its SBOM, and a registry that has just that.
package image
