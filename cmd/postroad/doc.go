// Command postroad carries messages from any site to an event hub and on to every
// reader.
//
// This package is the command line: it parses arguments, calls what the
// command needs, and turns the result into text and an exit code. Each command
// has a file of its name; what runs for long is in internal/app.
//
// Exit codes: 0 fine, 1 failed, 2 wrong arguments or configuration, 3 a check
// found loss. The first SIGINT or SIGTERM lets a command finish what is under
// way, the second kills it.
package main
