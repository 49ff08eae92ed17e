"""Entry point for ``mpiexec -n N python data_gen/make_shards.py CONFIG``: hpc-gw generate."""

import sys

from hpc_gw.cli import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
