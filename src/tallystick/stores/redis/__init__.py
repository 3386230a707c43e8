"""Redis: counters of rate limits that instances share."""
