"""Colours with a meaning, readable on light and dark alike; a word always stands beside a colour."""

GOOD = "#2f9e69"
FINE = "#5cb8a5"
CALM = "#4b7bec"
WARN = "#e8a33d"
BAD = "#dc5050"
QUIET = "#97a3b6"
