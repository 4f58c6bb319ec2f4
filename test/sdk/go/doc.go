// Command go is a client made with centrifuge-go.
//
// Arguments: URL json|protobuf TOKEN, which may be empty. Commands come in on standard input and events go
// out on standard output, a line of JSON each.
package main
