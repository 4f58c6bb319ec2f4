// Command go is a client made with centrifuge-go.
//
// Arguments: URL json|protobuf. Commands come in on standard input and events go
// out on standard output, a line of JSON each.
package main
