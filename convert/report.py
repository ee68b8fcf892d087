"""A card's figures as Markdown, so that a README quotes them and never drifts from them."""

import argparse
from pathlib import Path

from contract import card as contract_card
from convert.verify import ConversionError
from train.figures import Json

BEGIN, END = "<!-- figures: written by `python -m convert report` -->", "<!-- end of figures -->"

_FER_PLUS = (
    "FER+'s annotators agree with {agree:.0%} of these labels. Where they do, {accuracy_where_they_agree:.1%} are read "
    "rightly, where not {accuracy_where_they_do_not:.1%}; against their majority {accuracy_against_their_majority:.1%}."
)
_GROUPS = (
    "Three groups of labels are told apart better, {accuracy:.1%} of the faces rightly: pleasant (happy, surprise; "
    "recall {recall[pleasant]:.1%}), neutral ({recall[neutral]:.1%}) and unpleasant (angry, disgust, fear, sad; "
    "{recall[unpleasant]:.1%})."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `report`."""
    parser.add_argument("card", type=Path, help="the .json beside a .tflite file")
    parser.add_argument("--into", type=Path, metavar="README", help="replace what stands between its two figure marks")


def run(arguments: argparse.Namespace) -> int:
    """Print the figures, or put them into a page."""
    told = markdown(contract_card.read(arguments.card).document)
    if arguments.into is None:
        print(told)
        return 0
    page = arguments.into.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConversionError(f"{arguments.into}: the marks {BEGIN} and {END} are not in it")
    arguments.into.write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{after}")
    return 0


def markdown(document: Json) -> str:
    """Tables of accuracy, classes, coverage and conditions, as far as the card has them."""
    parts = [_head(document), _accuracy(document), _classes(document), _coverage(document)]
    device = next(iter(document["int8"].values()))
    if "groups" in device:  # not in cards of before 2026-11-26
        parts.insert(2, _GROUPS.format_map(device["groups"]))
    if "fer_plus" in document:
        parts.append(_FER_PLUS.format_map(document["fer_plus"]))
    if "conditions" in document:
        parts.append(_conditions(document["conditions"]))
    return "\n\n".join(parts)


def _head(document: Json) -> str:
    data = document["data"]
    bias = "".join(f", {value:+g} on the logit of {label}" for label, value in document.get("bias", {}).items())
    return (
        f"`{document['sha256'][:8]}`, {document['date']}: {document['architecture']}, "
        f"{document['macs'] / 1e6:.1f} M multiply-accumulates, {document['parameters']:,} parameters, "
        f"{document['bytes'] / 1024:.0f} KiB, temperature {document['temperature']}{bias}. Trained on "
        f"{sum(data['train'].values()):,} faces of {data['name']}, chosen on {sum(data['validation'].values()):,}, "
        f"measured on the {sum(data[data['measured_on']].values()):,} of `{data['measured_on']}`:"
    )


def _accuracy(document: Json) -> str:
    rows = {"float, Keras": document["float"]}
    rows |= {f"int8, {name} {row['version']}": row for name, row in document["int8"].items()}
    lines = ["| | accuracy | macro recall | calibration error |", "|---|---|---|---|"]
    form = "| {name} | {accuracy:.1%} | {macro_recall:.1%} | {ece:.3f} |"
    return "\n".join(lines + [form.format(name=name, **row) for name, row in rows.items()])


def _classes(document: Json) -> str:
    before, after = document["float"]["per_class"], next(iter(document["int8"].values()))["per_class"]
    lines = ["| label | precision: float | int8 | recall: float | int8 | F1: float | int8 | faces |", "|" + "---|" * 8]
    for label, row in after.items():
        pairs = [f"{before[label][key]:.3f} | {row[key]:.3f}" for key in ("precision", "recall", "f1")]
        lines.append(f"| {label} | {' | '.join(pairs)} | {row['support']} |")
    return "\n".join(lines)


def _coverage(document: Json) -> str:
    told = (
        "`unsure` is a face whose top probability is below {unsure_below:.2f}: {coverage:.1%} stay sure, and "
        "{accuracy:.1%} of these are right"
    ).format_map(document["unsure"])
    lines = [
        f"{told} ({document['unsure_rule']}).",
        "",
        "| unsure below | stay sure | of these right |",
        "|---|---|---|",
    ]
    form = "| {unsure_below:.2f} | {coverage:.1%} | {accuracy:.1%} |"
    return "\n".join(lines + [form.format_map(row) for row in document["coverage"][1::2]])


def _conditions(found: Json) -> str:
    whole = next(iter(found["accuracy"].values()))
    lines = [f"| condition, one at a time, int8, {found['faces']} faces | accuracy | points lost |", "|---|---|---|"]
    lines += [f"| {name} | {share:.1%} | {100 * (whole - share):.1f} |" for name, share in found["accuracy"].items()]
    for row in found["detected"]:
        lost = 100 * (row["accuracy_own_crop"] - row["accuracy"])
        name = f"through YuNet and the device's crop, {row['side_px']} px ({row['found']:.0%} found)"
        lines.append(f"| {name}; lost against these faces' own crops | {row['accuracy']:.1%} | {lost:.1f} |")
    return "\n".join(lines)
