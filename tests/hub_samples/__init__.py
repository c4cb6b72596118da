"""Small networks of KerasHub, Hugging Face and timm, and what other code than the server's makes of them."""
