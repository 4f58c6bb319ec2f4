// Package tree finds the project's root and lists its files, for the checks
// of the repository and for what builds on a copy of it.
//
// It lists what a commit would hold: with git what is tracked or untracked
// but not ignored, without git everything but the folders that are built. It
// reads nothing outside the root and changes nothing.
package tree
