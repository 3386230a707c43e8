"""Files and batches at upstreams: whose they are, what goes in, and what a batch costs when it has ended."""
