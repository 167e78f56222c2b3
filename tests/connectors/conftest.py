"""Tests of connectors; being here makes this folder's helpers importable from its subfolders too."""
