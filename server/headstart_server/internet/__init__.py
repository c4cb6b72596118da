"""What is reached over the network on somebody's word: which URLs and addresses, and a connection to one."""
