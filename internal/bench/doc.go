// Package bench measures Postroad against floors that it measures in the same
// run: what an HTTP server alone can do, what the disk alone can do. Machines
// differ and are busy, so a figure by itself says little; a share of a floor
// that was measured a second before and a second after says much.
//
// Rounds of all contenders alternate, and every figure comes with its spread.
// The load generator runs in the same process and on the same cores, as do the
// forwarder and the embedded hub where they take part: shares are what matters,
// and a figure from another machine cannot be held against one from this.
//
// Ingest measures the way in (Q1, Q3 and Q6 of the targets), Start how long
// `postroad dev` takes to its first message (P1), Stream what stream nodes cost
// (S1, S2, S3, S5). Nothing here is a test: no figure fails anything.
package bench
