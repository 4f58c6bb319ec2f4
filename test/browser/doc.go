// Package browser drives a headless Chromium for the tests of pages: it opens
// them, looks for what they show, and remembers what they ask for and complain of.
//
// Without a browser a test is skipped, under CI=true it fails. It knows nothing of
// any page, and imports nothing of ours.
package browser
