"""The Headstart server: fine-tunes heads on frozen shared backbones, keeps versions and serves them."""
