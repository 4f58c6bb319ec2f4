// Command pause holds the namespaces of a pod open, and takes leave of processes
// that lost their parents. It is the first process of each pod of the cluster in
// the folder above.
package main
