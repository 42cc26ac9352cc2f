"""Contracts, as tests."""
