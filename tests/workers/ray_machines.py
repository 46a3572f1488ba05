"""A Ray cluster of two machines, as far as Ray can tell: two raylets with addresses of their own.

A program: prints the cluster's address, and ends it when standard input ends.
"""

from __future__ import annotations

import os
import sys

#: All ports listen to this machine alone.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def main() -> None:
    # Every request needs the token of $HOME/.ray.
    os.environ |= {**LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000, node_ip_address="127.0.0.2")
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
