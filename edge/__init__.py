"""The daemon on the device: frames in, facial expression counts out. Pictures never leave this package.

The parts: `camera` gives frames, `vision` counts the faces of a frame, `uplink` delivers messages to the broker, and
`daemon` joins them. `commands` are what people run beside the daemon. May import contract, service and release; never
aggregator, train or convert. Layers: commands > daemon > uplink | camera | vision > config.
"""
