"""From a payload to a result: admission, decoding, batching, scheduling, tiled runs. No HTTP."""
