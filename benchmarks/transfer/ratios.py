"""The ratios that the transfer comparison is about: our throughput as a multiple of theirs, with what is asked of it."""

from __future__ import annotations

from benchmarks.report import Results
from benchmarks.transfer import distance, pull, receive, send

Goal = tuple[float, float]

LOAD_GOALS: dict[str, Goal] = {
    "load: MiB of all processes": (384, 384),
    "load: C-ECHO p99 in seconds": (1, 1),
    "load: associations lost": (0, 0),
}

_RECEIVE: tuple[tuple[str, str, Goal], ...] = (
    ("S", "storescp +B", (0.65, 0.9)),
    ("M", "storescp +B", (0.8, 1.0)),
    ("L", "storescp +B", (0.6, 0.8)),
    ("S", "storescp", (1.1, 1.3)),
    ("M", "storescp", (1.1, 1.3)),
    ("S", "Orthanc", (3.5, 5)),
    ("M", "Orthanc", (3.5, 5)),
    ("S", "pynetdicom storescp", (8, 12)),
    ("M", "pynetdicom storescp", (8, 12)),
)
_UNTOUCHED: dict[str, Goal] = {"S": (15, 15), "M": (50, 50)}


def of(results: Results) -> tuple[dict[str, float | None], dict[str, Goal]]:
    """Give the ratios of what was measured, and their goals, both by name."""
    found: dict[str, float | None] = {}
    goals: dict[str, Goal] = {}

    def note(name: str, value: float | None, goal: Goal) -> None:
        found[name] = value
        goals[name] = goal

    for name, other, goal in _RECEIVE:
        note(f"receive {name}: ours / {other}", results.ratio(receive.OURS, other, f"receive {name}"), goal)
        for ours in (receive.OURS, f"{receive.OURS} --workers 2"):
            workload = f"receive {name} x4"
            found[f"receive {name}, 4 associations: {ours} / {other}"] = results.ratio(ours, other, workload)
    for name in ("S", "M", "L"):
        ratio = results.ratio(receive.ENGINE, "storescp +B", f"receive {name}")
        note(f"receive {name}, digest and scan off: ours / storescp +B", ratio, (0.95, 1.1))
    for name, goal in _UNTOUCHED.items():
        for other in ("storescp", "storescp +B", "Orthanc"):
            ratio = results.ratio(receive.OURS, other, f"receive {name}, Nagle left on")
            note(f"receive {name}, peers untouched: ours / {other}", ratio, goal)
        note(f"receive {name} on disk: ours / Orthanc", _on_disk(results, name, ""), (1.6, 3))
        note(f"receive {name} on disk, 4 associations: ours / Orthanc", _on_disk(results, name, " x4"), (1.6, 3))
        to_storescp, to_orthanc = (f"send {name} to {target}" for target in ("storescp --ignore", "Orthanc"))
        note(f"send {name}: ours / dcmsend to storescp", results.ratio(send.OURS, "dcmsend", to_storescp), (1.5, 2))
        note(f"send {name}: ours / dcmsend to Orthanc", results.ratio(send.OURS, "dcmsend", to_orthanc), (1, 1.2))
        note(f"pull {name}: ours / storescp +B", results.ratio(pull.OURS, pull.STORESCP, f"pull {name}"), (0.6, 0.9))
        note(f"pull {name}: ours / Orthanc", results.ratio(pull.OURS, pull.ORTHANC, f"pull {name}"), (2, 3))
        for other in (pull.STORESCP, pull.ORTHANC):
            ratio = results.ratio(pull.OURS, other, f"pull {name}, Nagle left on")
            note(f"pull {name}, peers untouched: ours / {other}", ratio, (15, 15))
    _whole_commands(results, note)
    return found, goals


def _on_disk(results: Results, name: str, parts: str) -> float | None:
    """Compare on a real disk; with four associations the better of one and two accepting processes."""
    found = [
        results.ratio(ours, "Orthanc", f"receive {name}{parts}, on disk")
        for ours in (receive.OURS, f"{receive.OURS} --workers 2")
    ]
    return max((ratio for ratio in found if ratio is not None), default=None)


def _whole_commands(results: Results, note: object) -> None:
    assert callable(note)
    for system, workload in results.runs:
        if system == send.FORWARD:
            ratio = results.ratio("dcmsend", system, workload)
            note("forward M: wall time of ours / dcmsend", ratio, (1.1, 0.9))
        elif system.startswith("vna send, ") and system != distance.ONE:
            ratio = results.ratio(system, distance.ONE, workload)
            note(f"30 ms away: {system.removeprefix('vna send, ')} / 1 association", ratio, (8, 8))
