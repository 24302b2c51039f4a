"""Redis' protocol: addresses, connections, topologies, and the codec of entries and predictions."""
