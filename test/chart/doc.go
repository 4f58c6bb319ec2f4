// Package chart holds the tests of what is deployed to Kubernetes: the chart in
// deploy/charts/postroad, the manifests in deploy/rendered that are made from it,
// and the Flux trees in deploy/gitops.
//
// What is generated (the schema of values, the chart's README, the rendered
// manifests) is compared with what it is made from; -update writes it. Manifests
// are held against strict schemas, settings in ConfigMaps are checked by the
// program itself, and each property that a stamp needs is a function from objects
// to problems, in a table with the changes that it has to notice.
//
// No cluster is needed, and nothing is said of how one behaves.
package chart
