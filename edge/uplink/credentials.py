"""What a device shows the broker, from the files in `credentials`. Nothing is kept, nothing is connected."""

import ssl

from edge.config import EdgeConfig
from service.config import ConfigError


def tls_context(config: EdgeConfig) -> ssl.SSLContext | None:
    """Trust in ca.crt alone, with device.crt and device.key if they are there; None without TLS.

    Raises:
        ConfigError: If a file cannot be used.
    """
    if not config.mqtt.tls:
        return None
    authority, certificate, key = (config.credentials / name for name in ("ca.crt", "device.crt", "device.key"))
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ConfigError(f"{authority}: {error.strerror or error}") from error
    if certificate.exists():
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise ConfigError(f"{certificate} with {key}: {error.strerror or error}") from error
    return context


def broker_password(config: EdgeConfig) -> str | None:
    """The word in mqtt-password; None without a user name.

    Raises:
        ConfigError: If the file cannot be read.
    """
    if not config.mqtt.username:
        return None
    path = config.credentials / "mqtt-password"
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
