"""The daemon: messages from the broker into the store, `stored` and summaries back to the broker.

May import store and analysis, but neither web nor commands. `mqtt` is the only importer of paho here, `amqp` the only
one of pika; the daemon imports `amqp` for a cluster only, because pika is an extra.
"""
