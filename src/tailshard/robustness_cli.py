"""The command line of the verbs that put a search to the test; `robustness` has the verbs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .terminal import print_table

Json = dict[str, Any]
Command = Callable[..., Any]
Option = Callable[[Command], Command]


def add_commands(verb: Callable[..., Callable[[Command], Command]], common: tuple[Option, ...]) -> None:
    """Make the commands.

    Parameters
    ----------
    verb
        Takes options, and makes a command of a function that shows the result of the verb of its name.
    common
        Options of every verb of a pipeline.
    """

    @verb(
        *common,
        click.option(
            "--test",
            "tests",
            multiple=True,
            type=click.Choice(["removal", "momentum", "unphysical", "small"]),
            help="Do this alone; may be given more than once.  [default: all]",
        ),
        click.option(
            "--channel",
            "channels",
            multiple=True,
            metavar="NAME",
            help="Remove this background channel alone; may be given more than once.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True),
        click.option(
            "--share",
            type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
            default=0.01,
            show_default=True,
            help="Part of the training events that the test 'small' trains on.",
        ),
    )
    def stress(result: Json) -> None:
        """Disturb events, and train without channels, to see how robust the search is."""
        _show_robustness(result)
        click.echo(f"Open the page: {result['page']}")

    @verb(
        *common,
        click.option(
            "--output", type=click.Path(path_type=Path), required=True, help="Folder of the blind test."
        ),
        click.option(
            "--signal",
            "signals",
            multiple=True,
            metavar="NAME",
            help="Choose from these.  [default: every signal]",
        ),
        click.option(
            "--events",
            type=click.FloatRange(min=1),
            nargs=2,
            metavar="LOW HIGH",
            help="Signal events, chosen evenly in the logarithm.  [default: 0.1 to 2 times √background]",
        ),
        click.option(
            "--nothing",
            type=click.FloatRange(min=0, max=1),
            default=0.25,
            show_default=True,
            help="Probability that nothing is hidden.",
        ),
        click.option(
            "--into", type=click.Choice(["background", "data"]), default="background", show_default=True
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), help="Who knows it knows the truth.  [default: secret]"
        ),
    )
    def blind(result: Json) -> None:
        """Hide an unknown amount of signal, and seal the truth."""
        click.echo(
            f"{result['blind_events']:,} events in the channel 'blind'; what is in them is sealed with the "
            f"SHA-256\n{result['sha256']}\n"
            f"Search them: tailshard run {result['pipeline_file']} --workdir {result['folder']}\n"
            f"Then claim:  tailshard unblind {result['folder']} --signal NAME --events N --uncertainty U"
        )

    @verb(
        click.argument("folder", type=click.Path(path_type=Path)),
        click.option(
            "--claim", type=click.Path(path_type=Path), help="A JSON file: signal, events, uncertainty."
        ),
        click.option("--signal", metavar="NAME", help="What is in it; 'nothing' if that is the claim."),
        click.option("--events", type=click.FloatRange(min=0), help="How many selected events of it."),
        click.option("--strength", type=click.FloatRange(min=0), help="The same over its expected yield."),
        click.option("--uncertainty", type=click.FloatRange(min=0, min_open=True), help="Of either of them."),
    )
    def unblind(result: Json) -> None:
        """Record a claim on a blind test, and open the truth."""
        _show_unblinding(result)


def _show_robustness(result: Json) -> None:
    """Show what the network makes of disturbed events."""
    rows = [
        ("removed", channel, _measured(its["row"]["auc"]["error"]), "")
        for channel, its in result["removed"].items()
    ]
    networks = result["networks"]
    small = networks.get("small", {})
    for kind, what in (("disturbed", "disturbed"), ("signals", "signal")):
        for name, row in networks.get("full", {}).get(kind, {}).items():
            other = small.get(kind, {}).get(name)
            its = _measured(other["auc"]["error"]) if other else ""
            rows.append((what, name, _measured(row["auc"]["error"]), its))
    title = f"AUC of the error against the background {', '.join(result['background'])}"
    print_table(title, ("test", "events", "AUC", f"trained on {result['share']:.3g} of the events"), rows)


def _show_unblinding(result: Json) -> None:
    """Show a claim beside the truth."""
    claim, truth, its = result["claim"], result["truth"], result["verdict"]

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.4g}"

    print_table(
        "Claim and truth",
        ("", "signal", "events", "uncertainty"),
        [
            ("claimed", claim["signal"] or "nothing", number(its["claimed"]), number(its["uncertainty"])),
            ("true", truth["signal"] or "nothing", number(its["injected"]), ""),
        ],
    )
    right = "right" if its["presence_right"] and its["signal_right"] else "wrong"
    pull = "" if its["pull"] is None else f"; the amount is off by {its['pull']:.2g} standard deviations"
    click.echo(f"The claim of what is in the sample is {right}{pull}")
    if result["regions"]:
        columns = ("region", "observed", "background", "excess", "significance", "injected")
        print_table(
            "What the search shows",
            columns,
            [
                (
                    each["name"],
                    number(each["observed"]),
                    f"{number(each['background'])} ± {number(each['background_uncertainty'])}",
                    f"{number(each['excess'])} ± {number(each['excess_uncertainty'])}",
                    number(each["significance"]),
                    each["injected"],
                )
                for each in result["regions"]
            ],
        )
    if result["after_unblinding"]:
        click.secho("This claim was made after the truth had been opened: it counts for nothing", fg="yellow")


def _measured(its: Json) -> str:
    return "" if its["value"] is None else f"{its['value']:.3f} ± {its['uncertainty']:.3f}"
