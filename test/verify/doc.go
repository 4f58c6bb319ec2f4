// Command verify is what the Makefile's test, bench, proof and fmt call: it
// runs the stages of each, one after another, and ends with a table of what
// each took and how it went.
//
// It sets itself up: Go tools are built from the modules below tools/, in the
// versions pinned there, into the user's cache folder, and built again where
// that folder is gone. A stage that fails does not stop the next one, so one
// run shows all there is to mend. What is missing on a machine (a C compiler,
// a browser, Java) makes a loud note; with CI=true in the environment it makes the
// run fail, as does any skipped test.
//
// It holds no list of packages, fuzz targets or proofs: they are found.
package main
