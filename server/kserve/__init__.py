"""KServe v2 for batch clients: what may be asked of Triton, and what of its answers is told. Free of any transport."""
