"""Files on the Data page: uploads, which are in use, their first rows, and what was found in them."""

from typing import Any

import streamlit as st

import engine
from pages import parts

FORMATS = ["csv", "tsv", "txt", "xlsx", "jsonl", "json", "parquet"]
FILES = ("labels", "pool")
UNLABELLED = "unlabelled"  # in the address while a pool is given of which nothing is labelled
FEW = 6  # so many checks in order are shown, more are folded away
LEVELS = {"error": (":material/error:", "red"), "warning": (":material/warning:", "orange")}


# ----------------------------------------------------------------------- the uploads


def upload_key(part: str) -> str:
    """Return the key of an upload; another round of uploads has other keys, and so starts empty."""
    turn = st.session_state.get("upload_turn", 0)
    return f"upload_{part}" + (f"_{turn}" if turn else "")


def keep_upload(store: engine.Store, part: str) -> None:
    """Write an upload to disk at once and put its hash into the address, so that a reload finds it again."""
    upload = st.session_state.get(upload_key(part))
    if upload is None:
        st.query_params.pop(part, None)
    else:
        with parts.explained():
            st.query_params[part] = store.save_file(upload.name, upload.getvalue()).hash
    keep_draft()


def keep_draft() -> None:
    """Remember uploads that are not yet a study, for a look at another page."""
    names = (*FILES, UNLABELLED)
    st.session_state["draft"] = {name: st.query_params[name] for name in names if name in st.query_params}


def without_labels(pool: str | None = None) -> None:
    """Ask for a pool alone; a file at hand becomes it."""
    drop_files()
    st.query_params[UNLABELLED] = "yes"
    if pool is not None:
        st.query_params["pool"] = pool
    keep_draft()


def drop_files() -> None:
    """Take the uploads off the page; what is stored stays stored."""
    for part in (*FILES, UNLABELLED):
        st.query_params.pop(part, None)
    st.session_state.pop("draft", None)
    st.session_state["upload_turn"] = st.session_state.get("upload_turn", 0) + 1


def recall_draft() -> None:
    """Put uploads that are not yet a study back into the address after a look at another page."""
    if not any(name in st.query_params for name in (*FILES, UNLABELLED)):
        st.query_params.update(st.session_state.get("draft", {}))


def open_sample(store: engine.Store) -> None:
    """Open the sample study."""
    with parts.explained():
        open_other(engine.sample_study(store).id)


def open_other(study_id: str) -> None:
    """Open a study by its id."""
    drop_files()
    st.session_state["study"] = study_id
    st.query_params.from_dict({"study": study_id})


def choose_files(store: engine.Store) -> None:
    """Offer the sample and the two uploads."""
    left, right = st.columns(2)
    words = {
        "labels": (
            "Labels",
            "The texts that people have labelled: one row a text, a column with the text and one with the label.",
        ),
        "pool": (
            "Pool",
            "All the other texts. Not needed if the labels file holds them too, with the label left empty.",
        ),
    }
    for column, (part, (title, help_)) in zip((left, right), words.items(), strict=True):
        column.file_uploader(
            title, type=FORMATS, key=upload_key(part), help=help_, on_change=keep_upload, args=(store, part),
            disabled=part == "pool" and "labels" not in st.query_params,
        )  # fmt: skip
    st.caption(
        "The labelled texts must be a random draw from all the texts: only then does the answer hold for the whole."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Try the sample", icon=":material/science:", on_click=open_sample, args=(store,), key="try_sample")
        st.button("I have no labels yet", icon=":material/edit_note:", on_click=without_labels, key="no_labels")
        st.caption("CSV, TSV, Excel, JSONL or Parquet. Files stay on this computer.")


def choose_pool(store: engine.Store) -> None:
    """Offer the one upload that someone without labels needs."""
    st.file_uploader(
        "Pool", type=FORMATS, key=upload_key("pool"), on_change=keep_upload, args=(store, "pool"),
        help="All your texts: one row a text. Some of them are chosen for you to label on the next page.",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("I have labels", icon=":material/arrow_back:", on_click=drop_files, key="have_labels")
        st.caption("CSV, TSV, Excel, JSONL or Parquet. Files stay on this computer.")


def has_draft() -> bool:
    """Whether there are uploads that are not yet a study."""
    known = {**st.session_state.get("draft", {}), **st.query_params.to_dict()}
    return any(name in known for name in FILES)


def show_files(labels: Any, pool: Any, study: engine.Study) -> None:
    """Name the files in use, and of uploads say that they are not yet the study that is open."""
    draft = any(name in st.query_params for name in FILES)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("In use")
        for part, file in (("labels", labels), ("pool", pool)):
            if file is not None:
                st.badge(f"{part.capitalize()}: {parts.plain(file.name)}", color="green", icon=":material/description:")
            elif part == "pool":
                st.badge("no pool file", color="gray", icon=":material/remove:")
        if draft:
            st.button("Remove", key="drop", icon=":material/close:", type="tertiary", on_click=drop_files)
    if draft:
        button = "Label texts" if UNLABELLED in st.query_params else "Continue"
        st.warning(
            f"Not saved yet: press **{button}** below to make a study of it. "
            f"Until then the other pages show {parts.plain(study.name)}.",
            icon=":material/save:",
        )


# ------------------------------------------------------------ what is in the files


@st.cache_resource(max_entries=8, show_spinner="Reading the file")
def read_stored(key: str, _file: Any) -> Any:
    """Read a stored file, once for each content and name."""
    return _file.read()


def role_box(
    place: Any, title: str, part: str, options: list[str], preset: str | None, suffix: str, help_: str | None = None
) -> str:
    """Ask for the column of one part; the choice is kept in the address."""
    index = options.index(preset) if preset in options else 0
    name: str = place.selectbox(title, options, index=index, key=f"{part}_{suffix}", help=help_, bind="query-params")
    return name


def show_tables(labels: Any, pool: Any, roles: engine.Roles) -> None:
    """Show the first rows of the tables that are there, the columns in use first."""
    tables = [(title, table) for title, table in (("Labels", labels), ("Pool", pool)) if table is not None]
    tabs = st.tabs([f"{title}, {len(table.frame):,} rows" for title, table in tables])
    used = [name for name in roles.to_dict().values() if name]
    for tab, (title, table) in zip(tabs, tables, strict=True):
        frame = table.frame
        order = [name for name in used if name in frame] + [name for name in frame if name not in used]
        shown = frame[order].head(200)
        config = {roles.text: st.column_config.TextColumn(width="large")}
        tab.dataframe(
            shown, height=280, hide_index=True, column_config=config, alt=f"First rows of the {title.lower()} file",
            key=f"preview_{title}", placeholder="",
        )  # fmt: skip


def show_checks(checks: list[Any]) -> None:
    """Show the check-list: what stands in the way first, what is in order folded away."""
    for check in checks:
        if check.level in LEVELS:
            icon, colour = LEVELS[check.level]
            st.markdown(f":{colour}[{icon}] {parts.plain(check.finding)}  \n:gray[{parts.plain(check.remedy)}]")
    fine = [check for check in checks if check.level == "ok"]
    many = len(fine) > FEW
    with st.expander(f"{len(fine)} in order", icon=":material/check_circle:") if many else st.container():
        for check in fine:
            st.markdown(f":green[:material/check:] {parts.plain(check.finding)}")
