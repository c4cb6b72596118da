"""Webhooks: which URLs may receive them, and the sender of the POSTs."""
