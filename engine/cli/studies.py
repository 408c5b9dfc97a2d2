"""From files and options to a study."""

from __future__ import annotations

from argparse import Namespace as Arguments

from engine.data import Dataset, Roles, Table, guess_roles, prepare, read_table
from engine.errors import ArgumentError, LabelwiseError
from engine.rectification import Estimate
from engine.rectification.dataset import check_estimand, check_population
from engine.runs import Question, RunSettings, Store, Study


def read_tables(options: Arguments) -> tuple[Table, Table | None]:
    """Read the labels and, where it is named, the pool."""
    return read_table(options.labels), read_table(options.pool) if options.pool else None


def chosen_roles(options: Arguments, labels: Table, pool: Table | None) -> Roles:
    """The roles that were named; text and label are guessed where they were not."""
    text, label = options.text, options.label
    if text is None or label is None:
        guess = guess_roles(labels, pool)
        text, label = text or guess.text, label or guess.label
    return Roles(text, label, options.prediction, options.weight, options.group)


def chosen_question(options: Arguments, data: Dataset) -> Question:
    """Return the question; the labels decide the estimand where none is named."""
    named = options.estimand or ("groups" if options.group else "shares" if data.classes else "mean")
    estimand, _, q = named.partition("=")
    try:
        question = Question(estimand, options.population, options.confidence, float(q or 0.5))
    except ValueError as fault:
        if isinstance(fault, ArgumentError):
            raise
        raise ArgumentError(f"--estimand is {named!r}; a quantile is named as quantile=0.5.") from None
    check_estimand(data, estimand)
    check_population(data, question.population)
    return question


def open_study(options: Arguments, store: Store) -> Study:
    """Store the files and return their study."""
    labels, pool = read_tables(options)
    roles = chosen_roles(options, labels, pool)
    dataset = prepare(labels, pool, roles)
    question = chosen_question(options, dataset)
    _check_half_width(options, dataset)
    files = [store.save_file(path.name, path) if path else None for path in (options.labels, options.pool)]
    assert files[0] is not None
    return store.create_study(options.labels.stem, files[0], files[1], roles, question)


def answer_told(estimate: Estimate, study: Study) -> str:
    """The answer of a run in words; where the study's files are gone, as far as its question tells."""
    try:
        classes = study.dataset().classes
    except LabelwiseError:
        return estimate.summary(share=study.question.estimand == "shares")
    return told(estimate, study.question, classes)


def told(estimate: Estimate, question: Question, classes: tuple[str, ...] | None) -> str:
    """The answer in words; of groups, what the shares are shares of."""
    words = estimate.summary(share=classes is not None)
    of = f"\nThe shares are those of “{classes[1]}”." if classes and question.estimand == "groups" else ""
    return words + of


def _check_half_width(options: Arguments, data: Dataset) -> None:
    """Refuse a target half-width of shares that no share can have."""
    target = getattr(options, "half_width", None)
    if data.classes and target is not None and target >= 1:
        raise ArgumentError(
            f"--half-width is {target:g}, but the labels are classes, and shares lie below 1: "
            "0.03 are three percentage points."
        )


def chosen_settings(options: Arguments) -> RunSettings:
    """Return the settings of a run.

    Raises:
        ArgumentError: A number of labels or folds is given to a strategy that would not look at it.
    """
    for name, strategy in (("finetune", "split"), ("folds", "cross-fit")):
        if getattr(options, name) is not None and options.strategy != strategy:
            raise ArgumentError(
                f"--{name} is for --strategy {strategy}; under {options.strategy} it would not be looked at. Name the "
                "strategy too, or leave it out."
            )
    names = (
        "learner", "model", "objective", "strategy", "finetune", "folds", "seed", "cost_per_label",
        "cost_per_gpu_hour", "cost_per_thousand", "half_width", "keep", "report_to",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in names}
    return RunSettings(**{name: value for name, value in given.items() if value is not None})
