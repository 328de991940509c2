"""Crashes: senders that are killed, stopped and starved at every point, and what must hold afterwards."""
