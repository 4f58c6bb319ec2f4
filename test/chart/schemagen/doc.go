// Command schemagen writes test/chart/schemas: what the API server of Kubernetes,
// and the controllers that stamps are made for, take of each kind of object that
// this project writes. The source are the modules of these projects, as Go's
// module cache has them; what they say is kept but for descriptions, and keys
// that they do not name are forbidden.
//
//	go run ./test/chart/schemagen
//
// It is run by hand, when a version below is raised: the modules are large.
package main
