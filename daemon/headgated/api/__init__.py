"""The rim: the socket, identity, gRPC, and nothing that decides."""
