"""Webhooks: the policy of allowed URLs, and the sender of the POSTs."""
