"""From windows to what people are told: mix, estimate, lesson, events, summary, and the state of each room.

Pure functions and states to which the caller brings time and data. May import `contract`, `aggregator.config`,
`aggregator.store.windows` and numpy; never a store, a broker, a clock or the page.
"""
