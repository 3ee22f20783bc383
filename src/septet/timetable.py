"""What a run took, in lines and tables of text: beside the estimate, and by part and operator where it was profiled."""

from __future__ import annotations

from typing import Any

from septet.engine.timing import STEP_PARTS

# parts of a run whose name says too little
NAMES = {
    "saving": "checkpoints",
    "setup": "set-up",
    "frozen": "the frozen part",
    "finish": "the artifact",
    "profile": "the profile itself",
}
DETAILS = {"data": " (draw, collate)", "forward": " and loss", "optimizer": " (norm, update, rounding)"}


def named(part: str) -> str:
    """Return the name of a part of a run as it is shown."""
    return NAMES.get(part, part)


def against(costs: dict[str, Any]) -> str:
    """Return what the whole stage took and most of it for what, beside what `check` had said."""
    parts = [(part, seconds / max(costs["stage_s"], 1e-9)) for part, seconds in costs["parts_s"].items()]
    most = ", ".join(f"{named(part)} {share:.0%}" for part, share in parts[:5])
    told = f"in all      {costs['stage_s']:.0f} s: {most}"
    guess = costs["estimate"] or {}
    if "total_s" not in guess:
        return told
    time_off = costs["stage_s"] / max(guess["total_s"], 1e-9) - 1
    memory_off = costs["peak_memory_bytes"] / guess["memory_bytes"] - 1
    return (
        f"{told}\nestimated   {guess['total_s']:.0f} s, and took {time_off:+.0%}; "
        f"{guess['memory_bytes'] / 2**30:.2f} GiB, and took {memory_off:+.0%}"
    )


def timing_table(costs: dict[str, Any], timing: dict[str, Any]) -> str:
    """Return where the time of a profiled run went, as text."""
    whole = max(costs["stage_s"], 1e-9)
    lines = [f"{'where the time went':<36}{'in all':>10}{'share':>8}{'an update':>12}{'p10 to p90':>18}"]
    for part, seconds in costs["parts_s"].items():
        each = timing["parts"].get(part) if part in STEP_PARTS else None
        update = f"{each['mean_ms']:>9.1f} ms{each['p10_ms']:>10.1f} to {each['p90_ms']:.1f}" if each else ""
        lines.append(f"  {named(part) + DETAILS.get(part, ''):<34}{seconds:>8.1f} s{seconds / whole:>8.1%}{update}")
    if timing["operators"]:
        first, last = timing["window"][0], timing["window"][-1]
        lines.append(f"{f'operators, updates {first} to {last}':<36}{'calls':>10}{'share':>8}{'an update':>12}")
        lines += [
            f"  {each['name']:<34}{each['calls']:>10,.0f}{each['share']:>8.1%}{each['ms']:>9.1f} ms"
            for each in timing["operators"]
        ]
    if told := products(timing):
        lines.append(f"products    {told}")
    lines.append(f"speed       {timing['tokens_per_s']:,.0f} tokens/s, {costs['padding_share']:.1%} padding")
    return "\n".join(lines)


def products(timing: dict[str, Any]) -> str | None:
    """Return what a profiled run multiplied an update, and its share of what the machine can; or why that is not known."""
    if timing["flops_per_step"] is None:
        return "not counted, as sizes cannot be seen in compiled layers"
    if not timing["ceiling_gflops"]:
        return None
    return (
        f"{timing['flops_per_step'] / 1e9:,.1f} GFLOP an update, {timing['reached_gflops']:,.0f} of {timing['ceiling_gflops']:,.0f} GFLOP/s: "
        f"{timing['ceiling_share']:.0%} of what this machine's {timing['precision']} products do at its layers' own sizes"
    )
