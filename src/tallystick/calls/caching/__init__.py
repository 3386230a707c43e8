"""The response cache: answers that are kept, and given again to calls that ask the same."""
