"""Label Studio's ML backend protocol on the HTTP port."""
