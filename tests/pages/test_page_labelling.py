"""From a pool of which nothing is labelled to its curve, and from a study to more labels."""

from collections.abc import Callable

import pytest
import stored
from streamlit.testing.v1 import AppTest
from test_page_data import LABELS, button, with_files, words

import engine
from engine.runs import hand_over

Visit = Callable[..., AppTest]
POOL = "no,text\n" + "".join(f"{i},This is text number {i} of the pool\n" for i in range(100))


def pool_study(store: engine.Store, content: str = POOL, label: str = "stars") -> engine.Study:
    """Put a pool into the store, as the Data page does."""
    file = store.save_file("texts.csv", content.encode())
    return store.create_study("texts", file, None, engine.Roles("text", label), engine.Question())


def select(store: engine.Store, labelling: engine.Labelling, rows: range, by_confidence: bool = False) -> None:
    """Choose the texts of a labelling, as the worker does."""
    run = engine.selecting_run(store, labelling) or store.create_run(labelling.study_id, "select", labelling.settings)
    study = store.study(labelling.study_id)
    pool = study.unlabelled().pool_texts if not study.has_labels() else study.dataset().pool_texts
    facts = {"confidence": (0.3,) * len(rows), "read": len(pool), "lowest": tuple(rows)} if by_confidence else {}
    given = {"rows": tuple(rows), "texts": tuple(pool[i] for i in rows), "confidence": (), "why": "They were drawn so."}
    hand_over(store, run, engine.Selection(**{**given, **facts}))
    stored.finish(store, run)


def begun(
    store: engine.Store, answered: int = 0, answers: engine.Answers | None = None, **wishes: object
) -> tuple[engine.Study, engine.Labelling]:
    """Return a pool's study and its labelling of 32 texts, the first of them answered."""
    study = pool_study(store, **wishes)
    labelling = engine.begin_labelling(store, study, answers or engine.Answers(), model=engine.DEFAULT_MODEL)
    select(store, labelling, range(32))
    for row in range(answered):
        engine.record_answer(store, labelling.id, row, 1 + row % 5)
    return study, engine.open_labelling(store, labelling.id)


def text(app: AppTest) -> str:
    """Return the text that is shown to be labelled."""
    return next(part.body for part in app.html if "<div" in part.body).split(">", 1)[1].removesuffix("</div>")


def press(app: AppTest, choice: str) -> None:
    """Press the button of an answer."""
    next(button for button in app.button if button.key.startswith("answer_") and button.label == choice).click().run()
    assert not app.exception


def answers(store: engine.Store, labelling: engine.Labelling) -> dict[int, str | None]:
    """Return what the store holds."""
    return {row: given.answer for row, given in engine.open_labelling(store, labelling.id).given.items()}


# -------------------------------------------------------------------------- the data


def test_a_pool_alone_leads_to_its_labelling(visit: Visit, store: engine.Store, started: list[str]) -> None:
    app = visit()
    app.button(key="no_labels").click().run()
    app.file_uploader(key="upload_pool_1").upload("my texts.csv", POOL.encode()).run()
    assert store.file(app.query_params["pool"]).name == "my texts.csv"
    app = visit(unlabelled="yes", pool=app.query_params["pool"])
    assert app.selectbox[0].value == "text"
    assert "100 texts in the pool." in words(app)
    assert "Not saved yet: press **Label texts** below" in words(app)
    app.text_input[0].set_value("rating").run()
    app.number_input[1].set_value(7.0).run()
    app.button(key="start_labelling").click().run()
    assert not app.exception
    assert started == ["select"]
    study = store.studies()[0]
    assert (study.name, study.roles.label, study.question.estimand) == ("my texts", "rating", "mean")
    labelling = engine.labellings(store, study.id)[0]
    assert labelling.answers == engine.Answers(low=1, high=7)
    assert app.title[0].value == "Predict"
    assert "Choosing the texts" in words(app)
    assert app.query_params["labelling"] == labelling.id
    assert "unlabelled" not in app.query_params


def test_classes_are_named_by_the_user(visit: Visit, store: engine.Store, started: list[str]) -> None:
    pool = store.save_file("texts.csv", POOL.encode()).hash
    app = visit(unlabelled="yes", pool=pool)
    next(control for control in app.get("button_group") if "answer" in control.label).set_value("classes").run()
    assert app.button(key="start_labelling").disabled
    for named in ("praise, a *complaint*, praise", "praise, a *complaint* ,"):
        next(box for box in app.text_input if "Classes" in box.label).set_value(named).run()
        assert ("each named once" in words(app)) == named.endswith("praise")
    app.button(key="start_labelling").click().run()
    study = store.studies()[0]
    assert study.question.estimand == "shares"
    assert engine.labellings(store, study.id)[0].answers.classes == ("praise", "a *complaint*")


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ("text\n" + "".join(f"text number {i} here\n" for i in range(50)), "label"),
        (LABELS[:330] + "one more text,\n", "stars"),
    ],
)
def test_a_file_without_labels_enough_is_offered_to_be_labelled(
    visit: Visit, store: engine.Store, content: str, label: str
) -> None:
    address = with_files(store, content)
    app = visit(**address)
    app.button(key="label_file").click().run()
    assert app.query_params["pool"] == address["labels"]
    assert app.text_input[0].value == label
    assert not app.button(key="start_labelling").disabled
    app.button(key="have_labels").click().run()
    assert "pool" not in app.query_params


@pytest.mark.parametrize("content", ["", "no,text\n", "text\n\n\n", "\x89PNG"])
def test_a_faulty_pool_gives_a_sentence(visit: Visit, store: engine.Store, content: str) -> None:
    app = visit(unlabelled="yes", pool=store.save_file("texts.csv", content.encode("latin-1")).hash)
    assert app.error
    assert all(button.key != "start_labelling" for button in app.button)


def test_those_who_have_labels_see_one_button_more(visit: Visit, store: engine.Store) -> None:
    app = visit(**with_files(store, LABELS, POOL.replace("no,text", "id,text", 1)))
    assert button(app, "continue")
    keys = {each.key for each in app.button}
    assert "no_labels" in keys
    assert not {"label_file", "start_labelling"} & keys


def test_the_open_pool_leads_on_to_its_labelling(visit: Visit, store: engine.Store) -> None:
    study, _ = begun(store, 3)
    app = visit(study=study.id)
    assert "The file holds no labels, or too few. 3 texts are answered here so far." in words(app)
    app.button(key="label").click().run()
    assert app.title[0].value == "Predict"
    assert "3 of 32" in app.progress[0].text


# ---------------------------------------------------------------------- the labelling


def test_one_text_after_the_other_and_every_answer_is_kept(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store)
    app = visit("predict", study=study.id)
    assert text(app) == "This is text number 0 of the pool"
    assert "32 texts, about 4 min at 8 s each" in app.progress[0].text
    assert "They were drawn so." in words(app)
    press(app, "4")
    assert answers(store, labelling) == {0: "4"}
    assert text(app) == "This is text number 1 of the pool"
    button(app, "skip_").click().run()
    press(app, "2")
    assert answers(store, labelling) == {0: "4", 1: None, 2: "2"}
    again = visit("predict", study=study.id)
    assert text(again) == "This is text number 3 of the pool"
    assert "3 of 32" in again.progress[0].text


def test_going_back_shows_the_answer_to_be_kept_or_changed(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store, 2)
    app = visit("predict", study=study.id)
    for place in (1, 0):
        app.button(key="back").click().run()
        assert text(app) == f"This is text number {place} of the pool"
    assert app.button(key="back").disabled
    assert next(entry.label for entry in app.button if entry.proto.type == "primary") == "1"
    button(app, "keep_").click().run()
    assert text(app) == "This is text number 1 of the pool"
    press(app, "5")
    assert answers(store, labelling) == {0: "1", 1: "5"}
    assert text(app) == "This is text number 2 of the pool"


def test_a_wide_range_is_typed(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store, answers=engine.Answers(low=0, high=100))
    app = visit("predict", study=study.id)
    app.number_input(key="typed_number_0").set_value(55)
    app.button(key="save_typed").click().run()
    assert answers(store, labelling) == {0: "55"}
    assert text(app) == "This is text number 1 of the pool"
    app.button(key="save_typed").click().run()
    assert answers(store, labelling) == {0: "55"}


def test_a_number_beyond_the_stated_scale_is_refused_in_sight(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store, answers=engine.Answers(low=0, high=100))
    app = visit("predict", study=study.id)
    app.number_input(key="typed_number_0").set_value(101)
    app.button(key="save_typed").click().run()
    assert answers(store, labelling) == {}
    assert "101 is not a whole number from 0 to 100" in words(app)
    app.number_input(key="typed_number_0").set_value(100)
    app.button(key="save_typed").click().run()
    assert answers(store, labelling) == {0: "100"}
    assert "is not a whole number" not in words(app)
    assert app.number_input(key="typed_number_1").value is None


def test_labels_may_lie_beyond_those_so_far(visit: Visit, store: engine.Store) -> None:
    content = "text,stars\n" + "".join(f"This is text number {i} here,{1 + i % 4}\n" for i in range(40))
    file = store.save_file("stars.csv", (content + "".join(f"Text {i} of the rest,\n" for i in range(60))).encode())
    study = store.create_study("stars", file, None, engine.Roles("text", "stars"), engine.Question())
    stored.add_efficiency(store, study)
    app = visit("predict", study=study.id)
    button(app, "label_more").click().run()
    narrow = engine.labellings(store, study.id)[0]
    assert narrow.answers == engine.Answers(low=1, high=4, open=True)
    select(store, narrow, range(12))
    app = visit("predict", study=study.id, labelling=narrow.id)
    assert button(app, "see_curve").label == "See the curve from 1 label on"
    app.number_input(key="typed_number_0").set_value(5)
    app.button(key="save_typed").click().run()
    assert answers(store, narrow) == {0: "5"}
    assert "5 is saved, though it does not lie between 1 and 4" in app.toast[0].value
    assert app.number_input(key="typed_number_1").value is None


def test_the_scale_is_stated_where_more_labels_begin(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    stored.add_efficiency(store, study)
    app = visit("predict", study=study.id)
    app.number_input(key=f"lowest_{study.id}").set_value(9.0)
    button(app, "label_more").click().run()
    assert "from a smaller to a larger number" in words(app)
    app.number_input(key=f"lowest_{study.id}").set_value(0.0)
    button(app, "label_more").click().run()
    assert engine.labellings(store, study.id)[0].answers.choices == tuple("012345")


def test_texts_and_classes_are_shown_as_they_are(visit: Visit, store: engine.Store) -> None:
    content = POOL.replace("This is text number 0 of the pool", "# <b>5</b> $ **bold** :red[x]", 1)
    classes = engine.Answers(("**bold**", "<i>odd</i>"))
    study, labelling = begun(store, answers=classes, content=content)
    app = visit("predict", study=study.id)
    assert text(app) == "# &lt;b&gt;5&lt;/b&gt; $ **bold** :red[x]"
    press(app, r"\*\*bold\*\*")
    assert answers(store, labelling) == {0: "**bold**"}


def test_the_keys_are_digits_and_letters_where_digits_would_mislead(visit: Visit, store: engine.Store) -> None:
    def keys(app: AppTest) -> list[str]:
        return [button.proto.shortcut for button in app.button if button.key and button.key.startswith("answer_")]

    for label, asked, expected in (
        ("a", engine.Answers(), "12345"),
        ("b", engine.Answers(("x", "y", "z")), "123"),
        ("c", engine.Answers(low=0, high=10), "0123456789a"),
        ("d", engine.Answers(low=-2, high=2), "abdef"),
        ("e", engine.Answers(tuple(f"class {i}" for i in range(12))), "1234567890"),
    ):
        study, _ = begun(store, answers=asked, label=label)
        assert "".join(keys(visit("predict", study=study.id))) == expected


def test_the_curve_comes_of_labels_enough(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study, _ = begun(store, 19)
    app = visit("predict", study=study.id)
    assert button(app, "see_curve").disabled
    assert button(app, "see_curve").label == "See the curve from 20 labels on"
    press(app, "3")
    button(app, "see_curve").click().run()
    assert not app.exception
    assert started == ["efficiency"]
    made = store.study(app.query_params["study"])
    assert (made.name, made.dataset().n, made.dataset().m) == ("texts, 20 labels", 20, 80)
    assert "labelling" not in app.query_params
    assert app.progress
    button(visit("predict", study=study.id), "see_curve").click().run()
    assert started == ["efficiency"]


def test_at_the_end_ten_labels_are_enough_and_more_texts_are_at_hand(
    visit: Visit, store: engine.Store, started: list[str]
) -> None:
    study, labelling = begun(store, 12)
    for row in range(12, 32):
        engine.record_answer(store, labelling.id, row, None)
    app = visit("predict", study=study.id)
    assert "Done: 12 labelled, 20 skipped." in words(app)
    assert not button(app, "see_curve").disabled
    button(app, "choose_more").click().run()
    assert started == ["select"]
    newest = engine.labellings(store, study.id)[0]
    assert newest.id != labelling.id
    assert app.query_params["labelling"] == newest.id


def test_answers_that_are_all_the_same_give_a_sentence(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store)
    for row in range(32):
        engine.record_answer(store, labelling.id, row, 3)
    app = visit("predict", study=study.id)
    button(app, "see_curve").click().run()
    assert "every label is '3', so there is nothing to estimate" in words(app)


def test_deleting_asks_first(visit: Visit, store: engine.Store) -> None:
    study, labelling = begun(store, 4)
    app = visit("predict", study=study.id)
    button(app, "delete_labelling").click().run()
    assert "The answers given here, 4 in all, are deleted for good" in words(app)
    assert answers(store, labelling)
    assert app.button(key="delete_labelling_confirm")


def test_the_chosen_texts_are_offered_as_a_file(visit: Visit, store: engine.Store) -> None:
    study, _ = begun(store, 4)
    app = visit("predict", study=study.id)
    assert [part.label for part in app.get("download_button")] == ["Download these texts"]


def test_texts_that_cannot_be_chosen_leave_a_sentence_and_a_way_on(visit: Visit, store: engine.Store) -> None:
    study = pool_study(store)
    labelling = engine.begin_labelling(store, study, engine.Answers(), model="no/such")
    run = store.create_run(study.id, "select", labelling.settings)
    store.update_run(run.id, state="failed", error="Model no/such was not found: name another.")
    app = visit("predict", study=study.id)
    assert "Model no/such was not found" in words(app)
    app.button(key="delete_failed").click().run()
    assert engine.labellings(store, study.id) == ()
    button(app, "begin").click().run()
    assert engine.labellings(store, study.id)[0].settings.model == engine.DEFAULT_MODEL


# -------------------------------------------------------------------- the other pages


@pytest.mark.parametrize("page", ["plan", "run"])
def test_the_steps_that_need_labels_lead_to_them(
    visit: Visit, store: engine.Store, started: list[str], page: str
) -> None:
    study, _ = begun(store)
    app = visit(page, study=study.id)
    assert "Nothing is labelled yet, or too little" in words(app)
    assert started == []


def test_a_study_with_labels_takes_more(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study = stored.sample(store)
    stored.add_efficiency(store, study)
    app = visit("predict", study=study.id)
    app.number_input(key=f"count_{study.id}").set_value(12).run()
    button(app, "label_more").click().run()
    assert started == ["select"]
    labelling = engine.labellings(store, study.id)[0]
    assert labelling.settings.draw == "random"
    assert (labelling.settings.count, labelling.answers) == (12, engine.Answers(open=True))
    select(store, labelling, range(12), by_confidence=True)
    app = visit("predict", study=study.id)
    assert "Labelling: 0 of 12" in words(app).replace("*", "")
    app.button(key="go_on").click().run()
    assert "a weight lets their labels count for such texts alone" in words(app)
    app.button(key="to_curve").click().run()
    assert app.metric
    app.button(key="go_on").click().run()
    press(app, "5")
    button(app, "see_curve").click().run()
    made = store.study(app.query_params["study"])
    assert made.dataset().n == 401
    assert made.roles.weight == "weight"
    assert "All labels are of texts" not in words(app)


def test_labels_of_hard_texts_alone_are_warned_of(visit: Visit, store: engine.Store) -> None:
    study = pool_study(store)
    labelling = engine.begin_labelling(store, study, engine.Answers(), model=engine.DEFAULT_MODEL)
    select(store, labelling, range(32), by_confidence=True)
    for row in range(32):
        engine.record_answer(store, labelling.id, row, 1 + row % 5)
    app = visit("predict", study=study.id)
    assert "They are no random sample" in words(app)
    assert button(app, "choose_more").label == "Choose more texts at random"
    made = engine.labelled_study(store, labelling)
    stored.add_efficiency(store, made)
    for page in ("predict", "run"):
        assert "All labels are of texts that the model was least sure of" in words(visit(page, study=made.id))
    app = visit(study=made.id)
    app.radio[0].set_value("larger").run()
    button(app, "continue").click().run()
    other = store.study(app.query_params["study"])
    assert other.id != made.id
    assert other.skewed
