// Package syncpb is generated from bundle/sync.proto: the messages and the gRPC service of the sync between the planes.
package syncpb
