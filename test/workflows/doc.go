// Package workflows looks through .github: what the workflows may do, what they
// run, and in which order stamps are changed; and it runs their scripts, with the
// programs that they call replaced.
//
// No workflow has run on the platform it is written for.
package workflows
