// Package clients holds the tests of the proxy port with clients and servers that nobody here wrote: unmodified programs,
// started by `caracal run` as a person would start them, reach pypiserver, git http-backend, an MCP server, gRPC and
// WebSocket servers through CONNECT and inspection. They say what each client needs, what it shows of a denial, and that a
// revocation ends what is open. It has no code of its own.
package clients
