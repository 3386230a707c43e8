"""`tallystick keys|teams|users|orgs|models`: the admin API from the command line, over HTTP or on the database."""

from __future__ import annotations
