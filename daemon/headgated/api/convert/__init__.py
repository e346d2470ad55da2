"""Between the model and the protocol: reads requests, finding every fault in them, and writes answers. Decides nothing."""
