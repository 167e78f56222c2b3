"""What stands behind the commands of `cli.py`: one module per group of commands, each free of argument parsing."""
