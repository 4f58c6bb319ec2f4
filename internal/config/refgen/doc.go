// Command refgen reads the comments of every setting from the source, and writes them
// where package config embeds them and, as the reference page, to
// docs/reference/config.md. It runs by "go generate ./internal/config".
//
// It reads doc comments of fields, and comments at their end where there is no
// doc comment, of the structs that config.Structs lists. It does not interpret
// them: what a setting is by default comes from the running code.
package main
