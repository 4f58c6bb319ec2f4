// Package auth says who a caller is: for now, which stamp, by a bearer token that
// stands in a file on both sides.
//
// It guarantees that a token is compared in a time that does not depend on how
// much of it is right, that a file which changes counts from the next call on,
// without a restart, and that no token gets into an error or a log.
//
// It does not say what a caller may do, and knows no users.
package auth
