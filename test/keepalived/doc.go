// Package keepalived tries what deploy/keepalived ships: its configuration and
// units with the programs that read them, and the move of the one address between
// two front doors, in network namespaces that reach nothing but each other.
package keepalived
