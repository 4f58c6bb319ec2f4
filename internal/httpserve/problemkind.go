package httpserve

// ProblemKind is a kind of problem that a role answers with, for the reference.
type ProblemKind struct {
	// Name is the last part of the type, Status the HTTP status code.
	Name   string
	Status int
	// Meaning says what has happened, and Retry what a client should do.
	Meaning, Retry string
	// After is what Retry-After says, in words or as a time; empty where there is
	// none.
	After string
}
