"""What holds for all tests."""

from contextlib import suppress

with suppress(ImportError):  # of the fleet's and the training's environments, which have no such tests
    from hypothesis import settings

    settings.register_profile("classpulse", deadline=None)  # a busy machine is no error
    settings.load_profile("classpulse")
