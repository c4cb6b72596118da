"""Logs, metrics, traces and energy."""
