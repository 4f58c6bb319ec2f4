// Package telemetry makes what every process of Postroad says about itself:
// the logger, the registry of metrics with Go's and the process's own, and the
// version.
//
// Nothing here is global: the app makes one of each and hands it down.
package telemetry
