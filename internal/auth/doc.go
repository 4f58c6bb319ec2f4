// Package auth says who a caller is and what it may do.
//
// Callers of a stamp or stream node bring a signed token (JWT), which a Verifier
// checks with keys from files or from an issuer's address (JWKS); their
// permissions are those that the policies grant to their name, of which a token
// can take away and to which it can add nothing. Other stamps and stream nodes
// bring a shared secret that stands in a file on both sides (Stamps).
//
// It guarantees that what decides about a token is never the token: which
// algorithms are taken is decided by settings and by what a key is, keys are
// looked up among those that are known, and whatever is written so that two
// readers could take it differently is refused. Secrets are compared in a time
// that does not depend on how much of them is right; files and issuers' keys that
// change count without a restart; and no token or secret gets into an error or a
// log.
//
// It keeps no sessions and no list of tokens that were called back: a token is
// good until it expires, or until its key is taken away. While an issuer's
// address does not answer, the keys that are known stay good, for as long as that
// takes.
package auth
