"""The process growing is laid to a plugin only where it did nearly all the work meanwhile."""

from __future__ import annotations

from coder_local._registry.growth import Growth

MB = 2**20


def sampled(*minutes: tuple[int, dict[str, int]]) -> Growth:
    """Samples, each with the MiB that the process grew by and the calls of each plugin in that minute."""
    growth, resident, calls = Growth(), 100, dict.fromkeys({name for _, made in minutes for name in made}, 0)
    growth.sample(resident * MB, calls)
    for grown, made in minutes:
        resident += grown
        calls = {name: count + made.get(name, 0) for name, count in calls.items()}
        growth.sample(resident * MB, calls)
    return growth


def test_the_one_that_was_called_nearly_alone_while_the_process_grew_is_named() -> None:
    suspect = sampled((100, {"leaky": 95, "other": 5}), (0, {"other": 500}), (60, {"leaky": 100})).suspect()
    assert suspect is not None
    assert (suspect.plugin, suspect.grown_mb, suspect.minutes, suspect.share) == ("leaky", 160, 2, 0.975)


def test_where_several_worked_or_nobody_did_no_one_is_named() -> None:
    assert sampled((100, {"one": 50, "two": 50})).suspect() is None
    assert sampled((100, {"one": 3})).suspect() is None
    assert sampled((100, {"one": 100}), (100, {"two": 100})).suspect() is None


def test_memory_that_comes_back_was_not_lost() -> None:
    assert sampled((100, {"one": 100}), (-100, {"one": 100})).suspect() is None


def test_a_content_that_was_exchanged_counts_from_zero() -> None:
    growth = Growth()
    growth.sample(0, {"one": 1000})
    growth.sample(50 * MB, {"one": 20})
    suspect = growth.suspect()
    assert suspect is not None
    assert (suspect.plugin, suspect.share) == ("one", 1)
