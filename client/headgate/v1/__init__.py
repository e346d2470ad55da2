"""The protocol, generated from proto/headgate/v1 by `make proto`: not for editing."""
