"""The Data page: the sample, uploads, columns, checks, the question, and the list of studies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored
from streamlit.testing.v1 import AppTest

import engine

LABELS = "text,stars\n" + "".join(f"This is review number {i} of the shop,{1 + i % 5}\n" for i in range(40))
POOL = "text\n" + "".join(f"Another review with number {i}\n" for i in range(60))


def words(app: AppTest) -> str:
    """Return all prose on the page, without the escapes that keep it from being taken for Markdown."""
    parts = [*app.markdown, *app.error, *app.warning, *app.caption, *app.info, *app.success]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def button(app: AppTest, key: str) -> Any:
    """Return the button whose key begins like this."""
    return next(button for button in app.button if button.key and button.key.startswith(key))


def with_files(store: engine.Store, labels: str | bytes, pool: str | bytes | None = None, name: str = "my.csv") -> dict:
    """Keep files as an upload does, and return the address that names them."""
    encoded = labels.encode() if isinstance(labels, str) else labels
    address = {"labels": store.save_file(name, encoded).hash}
    if pool is not None:
        address["pool"] = store.save_file("pool.csv", pool.encode() if isinstance(pool, str) else pool).hash
    return address


def test_a_fresh_start_opens_the_sample(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit()
    assert app.query_params["study"] == store.studies()[0].id
    assert "4,400 texts" in words(app)
    assert "must be a random draw from all the texts" in words(app)
    assert "do not look like a random draw" not in words(app)
    assert app.get("plotly_chart")
    assert app.selectbox[0].value == "review"
    assert app.selectbox[1].value == "rating"
    assert not button(app, "continue").disabled


def test_a_blank_cell_is_shown_as_one(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(**with_files(store, LABELS, POOL))
    tables = [frame.proto for frame in app.dataframe]
    assert tables
    # Without a text of its own Streamlit writes None.
    assert all(table.HasField("placeholder") and not table.placeholder for table in tables)


def test_continue_stores_the_study_and_goes_on(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(**with_files(store, LABELS, POOL))
    button(app, "continue").click().run()
    assert not app.exception
    assert app.title[0].value == "Predict"
    assert "not saved yet" not in words(app)
    assert app.query_params["study"] == store.studies()[0].id
    assert store.studies()[0].roles.label == "stars"
    assert store.studies()[0].name == "my"


def test_an_upload_is_kept_under_its_hash_at_once(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit()
    app.file_uploader(key="upload_labels").upload("reviews.csv", LABELS.encode()).run()
    assert store.file(app.query_params["labels"]).name == "reviews.csv"
    reloaded = visit(labels=app.query_params["labels"])
    assert "reviews.csv" in words(reloaded)
    assert "Your upload is not saved yet" in reloaded.sidebar.caption[-1].value
    assert reloaded.selectbox[1].value == "stars"


def test_another_column_and_question_make_another_study(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit()
    first = app.query_params["study"]
    app.radio[0].set_value("larger").run()
    assert "all texts like these 4,400" in words(app)
    button(app, "continue").click().run()
    assert app.query_params["study"] != first
    assert store.study(app.query_params["study"]).question.population == "larger"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.csv", b"", "empty"),
        ("header.csv", b"text,stars\n", "no row"),
        ("one.csv", b"text\nonly a text here\n", "one column"),
        ("few.csv", b"text,stars\nfirst text,1\nsecond text,2\n", "at least"),
        ("blank.csv", b"text,stars\n" + b"a text without label,\n" * 30, ""),
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + b"0" * 50, "picture"),
        ("mixed.csv", b"text,stars\n" + b"a text,3\n" * 40 + b"another text,three\n", ""),
    ],
)
def test_a_bad_file_gives_a_sentence_and_loses_nothing(
    visit: Callable[..., AppTest], store: engine.Store, name: str, content: bytes, expected: str
) -> None:
    app = visit(**with_files(store, content, POOL, name=name))
    said = words(app)
    assert expected in said
    assert "Traceback" not in said
    assert app.query_params["labels"]
    assert "Product reviews" in said or "Sample" in said


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (LABELS.encode("utf-16"), "UTF-16"),
        (LABELS.replace(",", ";").encode(), "semicolon"),
        (LABELS.replace(",", "\t").encode(), "tab"),
        (LABELS.replace("review", "rêview").encode("cp1252"), ""),
    ],
)
def test_unusual_files_are_read(
    visit: Callable[..., AppTest], store: engine.Store, content: bytes, remark: str
) -> None:
    app = visit(**with_files(store, content, POOL))
    assert app.selectbox[1].value == "stars"
    assert not button(app, "continue").disabled
    assert remark.lower() in words(app).lower()


def test_a_column_that_the_pool_lacks_is_named(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(**with_files(store, LABELS, POOL.replace("text\n", "body\n", 1)))
    assert "text" in words(app)
    assert button(app, "continue").disabled


def test_a_file_that_is_not_there_gives_a_sentence(visit: Callable[..., AppTest]) -> None:
    app = visit(labels="0" * 64)
    assert app.error
    assert "upload it again" in app.error[0].value


def test_an_unknown_study_in_the_address_opens_the_newest(visit: Callable[..., AppTest], store: engine.Store) -> None:
    stored.sample(store)
    app = visit(study="nosuchstudy")
    assert "no study nosuchstudy" in words(app)
    assert app.query_params["study"] == store.studies()[0].id


def test_a_study_is_opened_and_deleted_after_a_question(visit: Callable[..., AppTest], store: engine.Store) -> None:
    first = stored.sample(store)
    second = stored.sample(store, engine.Question(confidence=0.9))
    app = visit(study=first.id)
    app.button(key=f"open_{second.id}").click().run()
    assert app.query_params["study"] == second.id
    store.create_run(first.id, "plan", engine.RunSettings())
    app.button(key=f"delete_{first.id}").click().run()
    assert "its 1 run and its files are deleted for good" in words(app)
    assert len(store.studies()) == 2
    assert app.button(key="delete_confirm")


def test_names_of_columns_are_never_taken_for_markdown(visit: Callable[..., AppTest], store: engine.Store) -> None:
    labels = LABELS.replace("text,stars", "a *text* [x](y),:red[stars] $5$", 1)
    app = visit(**with_files(store, labels, POOL.replace("text\n", "a *text* [x](y)\n", 1)))
    question = next(part.value for part in app.markdown if "####" in part.value)
    assert r"\:red\[stars\] \$5\$" in question


def test_uploads_outlast_a_look_at_another_page(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit()
    app.file_uploader(key="upload_labels").upload("reviews.csv", LABELS.encode()).run()
    assert "Not saved yet: press **Continue** below" in words(app)
    assert "Until then the other pages show Sample" in words(app)
    app.switch_page("pages/predict.py").run()
    app.switch_page("pages/data.py").run()
    assert "reviews.csv" in words(app)
    app.button(key="drop").click().run()
    assert "not saved yet" not in words(app).casefold()
    assert "labels" not in app.query_params
    assert "reviews.csv" not in words(app)


def asked(app: AppTest) -> Any:
    """Return the control that asks for the estimand."""
    return next(control for control in app.get("button_group") if control.label == "Asked for")


def question(app: AppTest) -> str:
    """Return the question as the page says it."""
    return next(part.value for part in app.markdown if "#### " in part.value).replace("\\", "")


def test_the_question_follows_what_is_asked_for(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(study=stored.own(store).id)
    assert asked(app).options == ["Mean", "Median", "Another quantile", "By group"]
    asked(app).set_value("median").run()
    assert "What is the median rating" in question(app)
    asked(app).set_value("quantile").run()
    assert "0.9 quantile" in question(app)
    app.number_input[0].set_value(0.25).run()
    assert "0.25 quantile" in question(app)
    asked(app).set_value("groups").run()
    assert "How does rating differ by product in these 4,400 texts?" in question(app)
    button(app, "continue").click().run()
    assert not app.exception
    assert store.study(app.query_params["study"]).question.estimand == "groups"


def test_the_address_brings_the_choice_back(visit: Callable[..., AppTest], store: engine.Store) -> None:
    study = stored.own(store).id
    app = visit(study=study)
    asked(app).set_value("quantile").run()
    named = {asked(app).key: "Another quantile", app.number_input[0].key: "0.25"}
    assert "0.25 quantile" in question(visit(study=study, **named))
    assert "mean rating" in question(visit(study=study, **{asked(app).key: "Rubbish"}))


def test_a_study_of_a_quantile_opens_with_it(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(study=stored.own(store, estimand="quantile", q=0.5).id)
    assert asked(app).value == "median"
    app = visit(study=stored.own(store, estimand="quantile", q=0.2).id)
    assert app.number_input[0].value == 0.2


def test_without_a_group_column_it_says_how_to_get_there(visit: Callable[..., AppTest], store: engine.Store) -> None:
    app = visit(**with_files(store, LABELS, POOL))
    assert asked(app).options == ["Mean", "Median", "Another quantile"]
    assert "choose the column that names them under More columns" in words(app)


def test_classes_are_asked_for_their_shares(visit: Callable[..., AppTest], store: engine.Store) -> None:
    study, _ = stored.add_shares(store)
    assert asked(visit(study=study.id)).options == ["Shares"]
    three = LABELS.replace(",1\n", ",bad\n").replace(",2\n", ",bad\n").replace(",3\n", ",fair\n")
    three = three.replace(",4\n", ",good\n").replace(",5\n", ",good\n")
    app = visit(**with_files(store, three, POOL))
    assert "or for two classes; these labels have more" in words(app)


def test_predictions_of_the_file_are_rectified_at_once(
    visit: Callable[..., AppTest], store: engine.Store, started: list[str]
) -> None:
    study = stored.own(store)
    app = visit(study=study.id)
    assert "Your file brings predictions, model_rating" in words(app)
    button(app, "rectify_own").click().run()
    assert not app.exception
    assert started == ["run"]
    run = next(run for run in store.runs() if run.kind == "run")
    assert run.settings.strategy == "zero-shot"
    assert app.title[0].value == "Results"
    assert app.query_params["run"] == run.id
    assert app.progress


def test_predictions_rectified_before_are_not_rectified_again(
    visit: Callable[..., AppTest], store: engine.Store, started: list[str]
) -> None:
    study = stored.own(store, estimand="groups")
    stored.add_own_run(store, study)
    app = visit(study=study.id)
    button(app, "rectify_own").click().run()
    assert started == []
    assert app.title[0].value == "Results"
    assert "differences are certain" in words(app)


def test_the_sample_brings_no_predictions(visit: Callable[..., AppTest]) -> None:
    assert "Your file brings predictions" not in words(visit())


def test_a_data_folder_that_cannot_be_made_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABELWISE_HOME", str(tmp_path / "file" / "home"))
    app = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=60).run()
    assert not app.exception
    assert "home cannot be made (Not a directory); set LABELWISE_HOME" in words(app)


def test_a_renamed_file_is_read_by_its_new_ending(visit: Callable[..., AppTest], store: engine.Store) -> None:
    lines = "\n".join(f'{{"text": "text {i}", "stars": {i % 5}}}' for i in range(40))
    pool = b"text\none more\nand another\n"
    assert "stars" not in visit(**with_files(store, lines, pool)).selectbox[0].options
    app = visit(**with_files(store, lines, pool, name="my.jsonl"))
    assert app.selectbox[1].value == "stars"
    button(app, "continue").click().run()
    assert app.title[0].value == "Predict"


def test_a_name_typed_for_one_study_is_not_another_ones(visit: Callable[..., AppTest], store: engine.Store) -> None:
    one, other = stored.sample(store), stored.own(store)
    app = visit(study=one.id)
    app.button(key=f"rename_{one.id}").click().run()
    app.text_input(key=f"new_name_{one.id}").set_value("Typed for the first")
    app.button(key=f"rename_{other.id}").click().run()
    assert app.text_input(key=f"new_name_{other.id}").value == other.name
