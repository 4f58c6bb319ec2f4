// Package config fills the Options of the packages from a YAML file, the
// environment and the command line, and tells where each value came from.
//
// The settings of a command are a struct whose sections are the Options of the
// packages, named by their yaml tags. A setting is known by its path, such as
// gateway.message.max_bytes; its environment variable is POSTROAD_ and the
// path in upper case with dots as underscores. The command line goes before
// the environment, the environment before the file, the file before the
// default.
//
// It guarantees that nothing is ignored: a key, variable or path that no
// setting has is an error, and all problems are reported at once, each with
// path, value, rule and the place it came from. A field tagged secret:"true"
// is taken from the file or the environment only and never printed.
//
// It does not interpret settings: what a value may be, the Validate of the
// package that owns it says.
package config
