"""Keras and OpenVINO: execution of networks, and training of tails."""
