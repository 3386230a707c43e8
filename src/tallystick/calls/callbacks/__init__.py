"""Callbacks: functions and objects that are told of calls, after the ledger has them and beside the calls."""
