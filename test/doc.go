// Package test holds the checks of the whole repository: which package may
// import which, and what no file may contain.
//
// Each check is a function from what it looks at to the problems it found, and
// each is run twice: on the repository, where it has to find nothing, and on
// made-up input that breaks its rule, where it has to find just that. The
// rules themselves are tables at the top of the files.
//
// It says nothing of how the program behaves; that is tested beside the code,
// and by the binary's own tests in cmd/postroad.
package test
