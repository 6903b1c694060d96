// Package faults holds the tests that run three gateways, two control planes, PostgreSQL and Redis, break the lines between
// them, freeze, kill and restart them, and hold what clients saw against what receipts said. It has no code of its own.
package faults
