// Package web holds what browsers are served beside the console: the page of the
// vehicles at /demo/, with the official JavaScript SDK of the stream's protocol as
// its maker publishes it.
//
// Everything is embedded; a page asks nobody but the host that it came from. The
// SDK is checked against the package that sdk/package-lock.json names.
package web
