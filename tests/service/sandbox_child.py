"""A child process of tests/service/test_sandbox.py: `python -m tests.service.sandbox_child environment|memory|wait`."""

import os
import sys

from service.sandbox import set_limits

MIB = 2**20

if __name__ == "__main__":
    match sys.argv[1]:
        case "environment":
            sys.stdout.write(str(dict(os.environ)))
        case "memory":
            set_limits(64 * MIB, 60)
            try:
                bytearray(256 * MIB)
            except MemoryError:
                sys.stdout.write("MemoryError\n")
        case "wait":
            sys.stdin.read()
