"""`python -m demo.subscribe HOST:PORT`: every message as `mosquitto_sub -v` prints it, where that is not installed."""

import sys

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


def main() -> int:
    """Print `topic payload` lines until Ctrl-C; 1 if the broker cannot be reached."""
    host, _, port = sys.argv[1].rpartition(":")
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = _subscribe
    client.on_message = _print
    try:
        client.connect(host, int(port))
        client.loop_forever()
    except OSError as error:
        print(f"the broker {sys.argv[1]} cannot be reached: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        client.disconnect()
    return 0


def _subscribe(client: paho.Client, *_: object) -> None:
    client.subscribe("classpulse/#", qos=1)


def _print(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
    print(message.topic, message.payload.decode(errors="replace"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
