"""Checks of deployments: small calls, made and written down like those of callers."""
