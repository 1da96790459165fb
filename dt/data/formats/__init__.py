"""Readers and writers of logged episodes, one file a format."""
