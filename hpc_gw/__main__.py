"""``python -m hpc_gw`` is the command ``hpc-gw``."""

from hpc_gw.cli import command

if __name__ == "__main__":
    command()
