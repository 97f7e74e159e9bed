"""Results of verbs as a person sees them: tables on stdout. What each holds, the verb says."""

import shlex
from typing import Any

import click

from .terminal import print_table

Json = dict[str, Any]


def shortened(reasons: list[str], most: int = 3) -> str:
    """Join the first of some reasons, and say how many more there are."""
    more = [f"and {len(reasons) - most} more reasons"] if len(reasons) > most else []
    return "; ".join([*reasons[:most], *more])


def stages(result: Json) -> None:
    """Show what a run did."""
    its = result["stages"]
    for name, stage in its.items():
        click.echo(f"{name}: {'done' if stage['did'] else 'current, nothing to do'}")
    quarantine(its.get("ingest", {}).get("quarantine", []), "not read")
    warnings(its.get("ingest", {}).get("warnings", []))
    if "report" in its:
        click.echo(f"Open the report: {its['report']['page']}")


def planned_jobs(rows: list[Json]) -> None:
    """Show the jobs that a launch would submit."""
    if not rows:
        click.echo("A launch would submit nothing: every stage is current.")
        return
    columns = ("workers", "cpus", "gpus", "memory", "walltime", "partition")
    print_table(
        "Jobs that a launch would submit, one after the other ('launch --dry-run' prints them whole)",
        ("job", "stages", *columns),
        [
            (
                row["name"],
                ", ".join(row["stages"]),
                *("" if row[name] is None else row[name] for name in columns),
            )
            for row in rows
        ],
    )


def launched(result: Json) -> None:
    """Show what a launch submitted, or would submit."""
    for job in result["live"]:
        click.echo(f"job {job['id']} does {', '.join(job['stages'])} already")
    if result["cancelled"]:
        click.echo(f"cancelled, for what they waited for has failed: {', '.join(result['cancelled'])}")
    for job in result["submitted"]:
        if "text" in job:
            after = f" after {', '.join(job['after'])}" if job["after"] else ""
            click.secho(f"# {job['name']}{after}", bold=True)
            click.echo(job["text"])
        else:
            click.echo(f"job {job['id']} submitted: {', '.join(job['stages'])}")
    if not result["submitted"]:
        click.echo("nothing to submit")
    for path in result.get("collected", []):
        click.echo(f"fetched {path}")


def cancelled(result: Json) -> None:
    """Show which jobs were ended."""
    for job in result["cancelled"]:
        click.echo(f"job {job['id']} cancelled: {', '.join(job['stages'])}")
    if not result["cancelled"]:
        click.echo("no job runs or waits")


def jobs(rows: list[Json]) -> None:
    """Show the jobs of a search, where there are any."""
    if rows:
        print_table(
            "Jobs",
            ("job", "stages", "state", "submitted", "where, or why"),
            [
                (row["id"], ", ".join(row["stages"]), row["state"], row["submitted"], row["detail"])
                for row in rows
            ],
        )


def plan(result: Json) -> None:
    """Show what a run would read and write."""
    print_table(
        f"Plan of {result['pipeline']}",
        ("dataset", "channel", "files", "entries", "partitions"),
        [
            (row["dataset"], row["channel"], row["files"], row["entries"], row["partitions"])
            for row in result["datasets"]
        ],
    )
    for what, text in result["estimates"].items():
        click.echo(f"{what}: {text}")
    quarantine(result["quarantine"], "cannot be read")
    if "jobs" in result:
        planned_jobs(result["jobs"])
    if "extrapolation" in result:
        extrapolation(result["extrapolation"])


def status(result: Json) -> None:
    """Show what there is of a search."""
    print_table(
        f"Outputs in {result['workdir']}",
        ("stage", "state", "made", "why"),
        [
            (row["stage"], row["state"], row["made"] or "", shortened(row["reasons"]))
            for row in result["stages"]
        ],
    )
    jobs(result["jobs"])
    quarantine(result["quarantine"], "in quarantine")
    warnings(result["warnings"])


def warnings(sentences: list[str]) -> None:
    """Show warnings of the store."""
    for sentence in sentences:
        click.secho(f"warning: {sentence}", fg="yellow")


def quarantine(rows: list[Json], what: str) -> None:
    """Show inputs that could not be used."""
    for row in rows:
        entries = "" if row["start"] is None else f", entries {row['start']} to {row['stop']}"
        click.secho(f"{what}: {row['dataset']}: {row['url']}{entries}: {row['reason']}", fg="yellow")


def extrapolation(its: Json) -> None:
    """Show expected times on other machines."""
    machines, stages = its["machines"], its["stages"]
    resources = list(dict.fromkeys(name for stage in stages.values() for name in stage["by_resource"]))

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:,.3g}"

    print_table(
        f"Extrapolated to {machines['nodes']} nodes of {machines['cores_per_node']} cores and "
        f"{machines['gpus_per_node']} GPUs: seconds, also for each resource alone",
        ("stage", "expected", "saturates first", *resources, "file system needed, GB/s"),
        [
            (
                name,
                seconds(stage["seconds"]),
                stage["limit"],
                *(seconds(stage["by_resource"].get(resource)) for resource in resources),
                f"{stage['file_system_bytes'] / 1e9:,.3g}",
            )
            for name, stage in stages.items()
        ],
    )
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in its["per_core"].items())
    click.echo(f"events/s of one core here: {rates} (entries for ingest; {its['rates']['measured_on']})")
    click.echo(
        "An extrapolation from this machine, with the assumptions of docs/scaling.md; GPUs are taken to "
        f"reach {machines['gpu_efficiency']:.0%} of {machines['gpu_tflops']:g} TFLOP/s."
    )


def store(result: Json) -> None:
    """Show what a store holds."""
    rows = [
        (
            each["channel"],
            each["kind"],
            each["slots"],
            *(f"{each['rows'][split]:,}" for split in ("training", "validation", "test")),
            f"{each['yield']:,.1f} ± {each['yield_uncertainty']:,.1f}",
            ", ".join(f"{mean:.2f} {name.replace('_', ' ')}" for name, mean in each["objects"].items()),
            f"{each['occupancy']:.1%}",
            f"{each['bytes'] / 1e6:,.1f}",
        )
        for each in result["channels"]
    ]
    columns = ("channel", "kind", "slots", "training", "validation", "test", "yield", "objects an event")
    print_table(f"Events in {result['store']}", (*columns, "cells filled", "MB"), rows)
    its = result["bytes_per_event"]
    print_table(
        "On disk",
        ("array", "MB", "bytes an event"),
        [(name, f"{size / 1e6:,.2f}", f"{its.get(name, 0):.1f}") for name, size in result["bytes"].items()],
    )
    geometry = result["geometry"]
    click.echo(
        f"{result['events']:,} events, {sum(its.values()):.1f} bytes each; slots of {geometry['slot']:,}, "
        f"chunks of {geometry['chunk']:,}, matrices as {geometry['codec']}; snapshot {result['snapshot']}"
    )
    if result["quarantine"]:
        click.secho(f"{result['quarantine']} inputs are in quarantine: see 'tailshard status'", fg="yellow")


def mixing(its: Json) -> None:
    """Show how even the batches of some orders are."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    stream = its["stream"]
    print_table(
        f"Batches of {stream['batch_size']:,} from {', '.join(stream['channels'])}",
        (
            "order",
            "batches",
            "entropy, bits",
            "lowest",
            "chi-squared / degree",
            "highest",
            "shuffled together",
            "seen again after",
        ),
        [
            (
                each["order"],
                f"{each['batches']:,}",
                f"{each['entropy']:.4f}",
                f"{each['lowest_entropy']:.4f}",
                number(each["chi_squared"]),
                number(each["highest_chi_squared"]),
                f"{each['shuffled_together']:,}",
                f"{each['seen_again_after']:,}",
            )
            for each in its["orders"]
        ],
    )
    ideal = its["orders"][0]["ideal_entropy"]
    click.echo(
        f"ideal entropy {ideal:.4f} bits; batches of independent draws have {its['random_draws']:.4f} "
        "and a chi-squared of 1 for each degree of freedom"
    )


def verification(result: Json) -> None:
    """Show what is wrong with a store."""
    if result["faults"]:
        print_table(
            f"What is wrong with {result['store']}",
            ("channel", "slot", "array", "what"),
            [_of_fault(fault) for fault in result["faults"]],
        )
    for row in result["rubbish"]:
        click.secho(f"rubbish, which the next ingest overwrites: {row['reason']}", fg="yellow")
    verdict = f"{len(result['faults'])} faults" if result["faults"] else "all as the catalog says"
    click.echo(f"{result['slots']:,} slots, {result['events']:,} events: {verdict}")


def _of_fault(fault: Json) -> tuple[object, ...]:
    slot = "" if fault["slot"] is None else fault["slot"]
    return fault["channel"], slot, fault["array"], fault["reason"]


def tuning(result: Json) -> None:
    """Show the trials of some settings, and how to have the best."""
    fields = list(dict.fromkeys(name for trial in result["trials"] for name in trial["settings"]))
    parts = list(dict.fromkeys(name for trial in result["trials"] for name in trial["parts"]))
    parts = parts if len(parts) > 1 else []
    print_table(
        f"Trials by {result['figure_of_merit']}, on validation events of {', '.join(result['channels'])}",
        ("trial", *fields, result["figure_of_merit"], *parts, "epochs", "ended", "s"),
        [
            (
                trial["trial"],
                *(_setting(trial["settings"].get(name, "as it is")) for name in fields),
                f"{trial['merit']:.4f} ± {trial['merit_uncertainty']:.4f}",
                *(f"{trial['parts'][name]:.4f}" for name in parts),
                trial["epochs"],
                trial["ended"],
                f"{trial['seconds']:,.1f}",
            )
            for trial in result["trials"]
        ],
    )
    for trial in result["failed"]:
        click.secho(f"trial {trial['trial']} failed: {trial['reason']}", fg="yellow")
    best = result["best"]
    if not best["set"]:
        click.echo("No trial is better than the pipeline as it stands.")
        return
    options = " ".join(f"--set {shlex.quote(option)}" for option in best["set"])
    click.echo(f"The best is trial {best['trial']}, in {result['folder']}/best.yaml, or: {options}")


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def update(its: Json) -> None:
    """Show what an update did, and why."""
    files = its["files"]
    counts = ", ".join(f"{len(files[what])} {what}" for what in ("added", "changed", "gone"))
    click.echo(f"files: {counts}")
    for url, why in files["left"].items():
        click.secho(f"left for the next time: {url}: {why}", fg="yellow")
    if not its["did"]:
        click.echo("nothing to do")
        return
    partitions, histograms, model = its["partitions"], its["histograms"], its["model"]
    click.echo(
        f"partitions: {partitions['read']} read, {partitions['kept']} kept, {partitions['freed']} removed"
    )
    click.echo(f"model: {model['why']}")
    click.echo(f"slots: {its['scored']} scored")
    click.echo(f"histograms: of {histograms['filled']} slots added, of {histograms['kept']} kept")
