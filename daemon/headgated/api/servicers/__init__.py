"""The services of the protocol, one file each: read the request, call Control, write the answer."""
