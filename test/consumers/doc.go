// Package consumers holds recipes for reading each message of a topic once, in
// Java and in Python, and the tests that run them: docs/consumers.md is cut
// from these files.
//
// The recipes are run as they are, as processes, against a real Kafka and
// against the embedded hub. They are killed and started again while duplicates
// stand on both sides of where they were, and what they showed is compared with
// what the topic holds by the rule alone, spelled out: not by the code of
// ours that follows the same rule.
//
// Java and Maven, or Python with its module venv, must be on the machine; what
// the recipes need beside is fetched the first time and kept in the user's
// cache folder. Where they are missing a test is skipped, and fails where
// CI=true.
package consumers
