"""How fast Headgate is, beside the physical limit and the tools that people use today. See `__main__`."""
