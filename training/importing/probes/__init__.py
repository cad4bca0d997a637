"""Questions that an import answers by running the graph: ports, layout, range, stride, reach, memory, parity."""
