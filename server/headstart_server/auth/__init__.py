"""Authentication, permissions, tenants and the audit log."""
