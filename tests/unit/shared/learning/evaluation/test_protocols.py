"""Splits, search, off-policy estimates and the two experiments."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shared.contracts.errors import Invalid
from shared.learning.evaluation import offpolicy, splits
from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.ratings import evaluate_errors, evaluate_ranking, read_ratings
from shared.learning.evaluation.sequences import Sequences, evaluate
from shared.learning.evaluation.tuning import random_search
from shared.learning.features.interactions import Interactions
from shared.tools.cli.evaluate import app

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 9)), max_size=40)


def table(events: list[tuple[int, int, int]]) -> Interactions:
    columns = np.array(events, dtype=int).reshape(-1, 3).T
    return Interactions(*columns[:2], columns[2].astype(float), np.ones(len(events)), 5, 6)


def content(events: Interactions) -> list[tuple[int, int, float]]:
    return sorted(
        zip(events.user.tolist(), events.item.tolist(), events.time_s.tolist(), strict=True)
    )


@given(rows, st.integers(0, 3))
def test_splits_lose_and_double_nothing(events: list[tuple[int, int, int]], seed: int) -> None:
    """A test event would be learnt from, or an event be left out of both parts."""
    whole = table(events)
    for split in (
        splits.by_time(whole, 5.0),
        splits.by_time_share(whole, 0.3),
        splits.leave_last_out(whole),
        splits.random_per_user(whole, 0.25, seed=seed),
    ):
        assert sorted(content(split.train) + content(split.test)) == content(whole)


@given(rows)
def test_a_time_split_never_looks_ahead(events: list[tuple[int, int, int]]) -> None:
    """Offline figures would promise what no shop can have."""
    split = splits.by_time_share(table(events), 0.3)
    if len(split.train) and len(split.test):
        assert split.train.time_s.max() < split.test.time_s.min()


def test_leave_last_out_by_hand() -> None:
    """The newest event would be learnt from and then predicted."""
    split = splits.leave_last_out(table([(0, 1, 5), (0, 2, 9), (0, 3, 7), (1, 4, 1)]))
    assert content(split.test) == [(0, 2, 9.0)]


def test_random_split_takes_the_share_of_each_user() -> None:
    """Users with few ratings would be missing from the test."""
    events = table([(user, n % 6, n) for user in range(3) for n in range(8)])
    test = splits.random_per_user(events, 0.25, seed=1).test
    assert np.bincount(test.user).tolist() == [2, 2, 2]


@given(st.integers(0, 50), st.integers(1, 6))
def test_folds_share_out_everything_once(n: int, count: int) -> None:
    """Some ratings would never be predicted, or be predicted by a model that saw them."""
    masks = np.array(splits.folds(n, count, seed=0))
    assert (masks.sum(axis=0) == 1).all()
    assert np.ptp(masks.sum(axis=1)) <= 1


def test_questions_leave_out_what_cannot_be_answered() -> None:
    """Users whose items were all seen before would count as failures of the model."""
    past = table([(0, 1, 1), (1, 2, 1)])
    asked = Questions.of(past, table([(0, 1, 2), (1, 3, 2), (1, 2, 3)]))
    assert [wanted.tolist() for wanted in asked.relevant] == [[3]]
    again = Questions.of(past, table([(0, 1, 2)]), exclude_seen=False)
    assert again.ask(lambda h: np.arange(6.0) * (np.arange(6) < 2), 1).hits.tolist() == [[True]]


def test_random_search_keeps_the_best_and_stops() -> None:
    """Tuning would return its last trial, or never end."""
    values = iter([3.0, 9.0, 4.0, 4.0, 99.0])
    tuned = random_search(
        0, lambda rng, best: best + 1, lambda n: next(values), trials=9, patience=2, seed=0
    )
    assert (tuned.best, tuned.score, len(tuned.trials)) == (1, 9.0, 4)


def test_off_policy_by_hand() -> None:
    """A policy would be promoted on an estimate that is wrong by construction."""
    logged = offpolicy.Logged(
        np.array([1.0, 0, 1, 0]), np.array([0.5, 0.5, 0.25, 1]), np.array([1.0, 0, 0.5, 0.5])
    )
    # Weights 2, 0, 2, 1/2.
    assert offpolicy.inverse_propensity(logged, seed=0).mean == pytest.approx(4 / 4)
    assert offpolicy.inverse_propensity(logged, seed=0, clip=1).mean == pytest.approx(2 / 4)
    assert offpolicy.self_normalised(logged, seed=0).mean == pytest.approx(4 / 4.5)
    half = np.full(4, 0.5)
    # Residuals 1, 0, 1, -1/4 on an expected .5.
    assert offpolicy.doubly_robust(logged, half, half, seed=0).mean == pytest.approx(0.5 + 1.75 / 4)


@given(st.integers(0, 20))
def test_judging_the_logging_policy_gives_its_own_mean(seed: int) -> None:
    """Estimates would be biased even where nothing has changed."""
    rng = np.random.default_rng(seed)
    chance, reward = rng.uniform(0.1, 1, 30), rng.random(30)
    logged = offpolicy.Logged(reward, chance, chance)
    for estimate in (offpolicy.inverse_propensity, offpolicy.self_normalised):
        assert estimate(logged, seed=0).mean == pytest.approx(reward.mean())


@pytest.mark.parametrize(("propensity", "target"), [(0, 0.5), (1.5, 0.5), (0.5, -1), (0.5, 2)])
def test_impossible_propensities_are_refused(propensity: float, target: float) -> None:
    """One propensity of 0 would make the estimate infinite."""
    logged = offpolicy.Logged(np.ones(1), np.array([propensity]), np.array([target]))
    with pytest.raises(Invalid):
        offpolicy.importance(logged)


CHAIN = [f"u{n} " + " ".join(f"i{(n + step) % 9}" for step in range(5)) for n in range(60)]


def test_the_next_item_of_a_chain_is_found() -> None:
    """The command would report the figures of a model that learnt nothing."""
    result = evaluate(Sequences.read(CHAIN), trials=2)
    assert result.refit.hits[:, 0].mean() > 0.9
    assert result.strict.hits[:, 0].mean() > 0.9


def test_strict_never_sees_the_validation_item() -> None:
    """The strict figure would be as flattering as the other."""
    # Only the second-last items tell what the last one is: pairs x -> y that occur once each.
    lines = [f"u{n} a{n % 3} b{n % 4} x{n % 5} y{n % 5}" for n in range(60)]
    given = Sequences.read(lines)
    early = given.without_last(2)
    names = {given.items.name(item) for item in early.item.tolist()}
    assert not any(name[0] in "xy" for name in names)
    assert all(
        history.items[-1] in given.items.numbers([f"x{n}" for n in range(5)])
        for history in given.question(-1).histories
    )


@pytest.mark.parametrize("lines", [["a"], ["a 1 2 3", "a 1 2 3"], ["a 1 2"], [], ["a 1 1 1"]])
def test_unusable_sequences_are_refused(lines: list[str]) -> None:
    """A wrong file would give a figure instead of a complaint."""
    with pytest.raises(Invalid):
        evaluate(Sequences.read(lines), trials=1)


def test_ratings_in_both_forms() -> None:
    """A shop's own export would be read with user and item swapped, or not at all."""
    tabs = ["user_id:token\titem_id:token\trating:float\ttimestamp:float\n", "7\tx\t4\t9\n"]
    for lines in (tabs, ["7,x,4,9\n"], ["user,item,rating,time\n", "7,x,4,9\n"]):
        one = read_ratings(lines)
        assert (one.n_users, one.n_items, one.weight.tolist(), one.time_s.tolist()) == (
            1,
            1,
            [4],
            [9],
        )
    assert read_ratings(['7,"x, y",4\n']).time_s.tolist() == [0]


@pytest.mark.parametrize("lines", [[], ["u,i,r\n"], ["1,2,3\n", "1,2\n"], ["1,2,3\n", "1,2,nan\n"]])
def test_unusable_ratings_are_refused(lines: list[str]) -> None:
    """One damaged row would become a rating of nothing."""
    with pytest.raises(Invalid):
        read_ratings(lines)


def test_errors_come_from_unseen_ratings() -> None:
    """The error would be that of remembering, not of predicting."""
    rng = np.random.default_rng(0)
    n = 400
    noise = Interactions(
        rng.integers(0, 20, n),
        rng.integers(0, 20, n),
        np.zeros(n),
        rng.choice([1.0, 5.0], n),
        20,
        20,
    )
    assert evaluate_errors(noise).rmse > 1.9


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_too_few_ratings_are_refused(n: int) -> None:
    """A handful of ratings would end in a stack trace, or in a figure that is none."""
    few = Interactions(np.arange(n) // 3, np.arange(n) % 3, np.zeros(n), np.ones(n) * 4, 3, 3)
    with pytest.raises(Invalid, match="too few ratings"):
        evaluate_ranking(few, trials=1, seed=0)
    if n < 5:
        with pytest.raises(Invalid, match="too few ratings"):
            evaluate_errors(few)
    else:
        assert np.isfinite(evaluate_errors(few).of_fold).all()


def test_the_command_prints_one_json_line(tmp_path: Path) -> None:
    """Benchmarks and scripts could not read the answer."""
    file = tmp_path / "sequences.txt"
    file.write_text("\n".join(CHAIN))
    run = CliRunner().invoke(
        app, ["recommend", "--sequences", str(file), "--trials", "1", "--json"]
    )
    assert run.exit_code == 0, run.output
    answer = json.loads(run.output)
    assert answer["refit"]["ndcg@10"]["low"] <= answer["refit"]["ndcg@10"]["mean"]
    assert answer["asked"] == 60


def test_the_command_complains_in_words(tmp_path: Path) -> None:
    """A wrong file would end in a traceback."""
    file = tmp_path / "empty.txt"
    file.write_text("")
    run = CliRunner().invoke(app, ["recommend", "--ratings", str(file)])
    assert run.exit_code == 2
    assert "no rating" in run.output
