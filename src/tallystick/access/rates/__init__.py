"""Rate limits: requests, tokens and parallel calls, in sliding windows, in memory or shared by all instances."""
