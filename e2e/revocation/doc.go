// Package revocation holds the tests of the first promise on real processes: three gateways with their Envoys, two control
// planes, PostgreSQL and Redis. They break the lines between them, freeze, kill and restart them, put the database back, cut
// every kind of live stream, and hold what clients saw against what receipts said. It has no code of its own.
package revocation
