"""The page that people open: login, overview, room, report.

Its only sources are a `Store`, opened for reading, and the requests. May import everything of the aggregator but
`commands` and the loop of `ingest`. NiceGUI and Starlette are used in this package only, and not in `users`, `reader`,
`charts`, `text`, `lessons` and `report`, which are tested without a browser; Jinja in `templates`.
"""
