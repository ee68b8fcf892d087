"""HTML from the folder `templates`: whatever is put in is escaped, and texts are in the language of the request."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aggregator.analysis.lesson import name_of
from aggregator.web.headline import event_sentence
from aggregator.web.language import LANGUAGES, _, current, day_text, ngettext
from aggregator.web.text import clock, percent, zone_text
from contract.message import utc

_WEB = Path(__file__).parent
ENVIRONMENT = Environment(
    loader=FileSystemLoader([_WEB / "templates", _WEB]),  # chart.css is beside this file
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.globals |= {"_": _, "ngettext": ngettext, "day_text": day_text, "lang": current.get, "LANGUAGES": LANGUAGES}
ENVIRONMENT.globals |= {"clock": clock, "utc": utc, "zone_text": zone_text, "percent": percent}
ENVIRONMENT.globals |= {"event_sentence": event_sentence, "name_of": name_of}


def render(template: str, /, **fields: object) -> str:
    """The template of this name, such as `report.html`."""
    return ENVIRONMENT.get_template(template).render(fields)
