"""The method in words, and the papers it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.report.wording import rectifies
from engine.runs import Results, Run, RunSettings, Study


@dataclass(frozen=True)
class Source:
    """A paper or a model: what it is, and where it can be read."""

    text: str
    address: str


_PPI = Source(
    "Angelopoulos, Duchi and Zrnic, on tuned prediction-powered inference (PPI++): arXiv 2311.01453",
    "https://arxiv.org/abs/2311.01453",
)
_CROSS = Source(
    "Zrnic and Candès, on cross-prediction-powered inference: arXiv 2309.16598", "https://arxiv.org/abs/2309.16598"
)
_LAW = Source(
    "Wang, Ye and Zhao, on fine-tuning and then rectifying: arXiv 2511.19486", "https://arxiv.org/abs/2511.19486"
)
_COSLOW = Source("Je and Raffel, on data efficiency and CoS-Low: arXiv 2512.24991", "https://arxiv.org/abs/2512.24991")
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"

_COSLOW_WORDS = "CoS-Low, the agreement of the gradients of the texts the model is least sure of"
_LEARNERS = {
    "probe": "a small head was fitted on the texts' representations by a frozen language model",
    "lora": "a language model was fine-tuned with low-rank adapters (LoRA)",
    "full": "all weights of a language model were fine-tuned",
    "auto": "a head on a frozen language model and one fine-tuned with low-rank adapters (LoRA) were blended",
}


@dataclass
class _Cited:
    """The papers that a text cites, in the order of their first place in it."""

    papers: list[Source] = field(default_factory=list)

    def __call__(self, paper: Source) -> str:
        """Return the number of a paper in brackets."""
        if paper not in self.papers:
            self.papers.append(paper)
        return f"[{self.papers.index(paper) + 1}]"


def method(study: Study, run: Run, results: Results) -> tuple[list[str], list[Source]]:
    """Return how the answer was found, step by step, for a reader without statistics, and what it cites.

    The model, where one was used, stands after the papers.
    """
    settings, chosen = run.settings, results.selection
    paragraphs = [] if chosen is None else [chosen.why]
    cite = _Cited()
    measured = results.efficiency is not None and results.efficiency.measured
    if results.efficiency is not None and not measured:
        paragraphs.append(_curve(results, cite))
    if results.law is not None:
        paragraphs.append(
            f"Pilot: {_LEARNERS[settings.learner]} ({settings.model}) on growing numbers of labels, with several "
            "seeds, and its errors were measured on labels it had not seen. A law of the form "
            f"a·s^(−alpha) + b was fitted to them with its uncertainty {cite(_LAW)}; it predicts the error at sizes "
            "not tried."
        )
    if measured:
        paragraphs.append(_curve(results, cite))
    if results.plan is not None:
        paragraphs.append(
            "Plan: from the law, the width of the interval was predicted for every way to use the labels, each way "
            f"paying for the labels that it spends on training {cite(_LAW)}."
        )
    if not rectifies(run):
        used = results.efficiency is not None or (chosen is not None and chosen.by_confidence)
        return paragraphs, [*cite.papers, *([_model(settings)] if used else [])]
    strategy = _strategy(run, results)
    alone = strategy == "labels-only"
    if alone:
        paragraphs.append(
            "Labels only: the answer and its interval are those of the labelled texts; no model has a part in them."
        )
    elif strategy is not None:
        paragraphs.append(_rectifying(strategy, cite))
    paragraphs.append(
        "The interval speaks of exactly these texts: labels already known enter as they are."
        if study.question.population == "these"
        else "The interval speaks of a larger population of which these texts are a random sample."
    )
    paragraphs.append("It rests on labelled texts that were drawn at random from the whole, or weighted to be so.")
    asked = settings.strategy != "zero-shot" or study.roles.prediction is None
    trained = results.law is not None or results.efficiency is not None
    return paragraphs, [*cite.papers, *([_model(settings)] if trained or (asked and not alone) else [])]


def _curve(results: Results, cite: _Cited) -> str:
    """What the curve of this run rests on."""
    assert results.efficiency is not None
    ground, unused = "the curves of other tasks", ""
    if results.efficiency.coslow is not None:
        # The run keeps what its calibration says: of some models CoS-Low says too little to be used.
        if "not used" in str(results.details.get("calibration", "")):
            unused = f" {_COSLOW_WORDS}, was measured too, but is not used for this model."
        else:
            ground += f" and {_COSLOW_WORDS}"
    if results.efficiency.measured:
        found = "measured on the pilot; between and beyond the numbers of labels tried it follows"
    else:
        found = "predicted before any training, from"
    return f"How far labels carry was {found} {ground} {cite(_COSLOW)}.{unused}"


def _strategy(run: Run, results: Results) -> str | None:
    """The strategy that was carried out or, before that, was asked for or is recommended; None before there is one."""
    if results.estimate is not None:
        return results.estimate.method
    if run.settings.strategy != "auto":
        return run.settings.strategy
    return results.plan.recommended if results.plan is not None else None


def _rectifying(strategy: str, cite: _Cited) -> str:
    words = (
        "Rectifying: the model's answer over all texts is corrected by its errors on labelled texts that it was not "
        "trained on; the correction counts as much as the predictions deserve, so that bad predictions cannot make "
        f"the answer much worse than labels alone {cite(_PPI)}."
    )
    if strategy != "cross-fit":
        return words
    return (
        f"{words} Under cross-fitting, each label is predicted by a model trained on the other folds, so that every "
        f"label both trains and rectifies {cite(_CROSS)}; each unlabelled text is predicted by one of these models, "
        "taken at random."
    )


def _model(settings: RunSettings) -> Source:
    return Source(
        f"Model: {settings.model}", f"https://huggingface.co/{settings.model}" if settings.model == _MINILM else ""
    )
