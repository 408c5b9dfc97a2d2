"""Awkward files: each gives the table it means, or one plain sentence."""

import json
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data import Table, read_table
from engine.data.values import as_text
from engine.errors import DataError

PLAIN = "text,label\nlovely,5\nawful,1\nso so,3\n"


def read(folder: Path, content: str | bytes, name: str = "file.csv") -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def fault(folder: Path, content: str | bytes, name: str = "file.csv") -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content, name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert name in message
    return message


def is_plain(table: Table) -> bool:
    frame = table.frame
    return frame["text"].tolist() == ["lovely", "awful", "so so"] and frame["label"].tolist() == [5, 1, 3]


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (PLAIN.encode(), None),
        (PLAIN.encode("utf-8-sig"), "byte order mark"),
        (PLAIN.encode("utf-16"), "UTF-16 LE"),
        (b"\xfe\xff" + PLAIN.encode("utf-16-be"), "UTF-16 BE"),
        (PLAIN.encode("utf-16-le"), "UTF-16 LE"),
        (PLAIN.encode("utf-16-be"), "UTF-16 BE"),
        (PLAIN.encode("utf-32"), "UTF-32"),
        (PLAIN.replace(",", ";").encode(), "semicolon"),
        (PLAIN.replace(",", "\t").encode(), "tab"),
        (PLAIN.replace(",", "|").encode(), "vertical bar"),
        (PLAIN.replace(",", "\t").encode("utf-16"), "UTF-16"),
        (b"sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n").encode(), "semicolon"),
        (PLAIN.replace("\n", "\r\n").encode(), None),
        (PLAIN.replace("\n", "\r").encode(), None),
        (PLAIN.replace("\n", "\r\r\n").encode(), None),
        (PLAIN.replace("text,label", " text , label\t").encode(), "'text', 'label'"),
        (PLAIN.replace("text,label", '"text\r","label\r\n"').encode(), "'text', 'label'"),
        (b"\n\n" + PLAIN.encode() + b"\n\n,\n", None),
    ],
)  # fmt: skip
def test_the_same_table_in_many_dresses(tmp_path: Path, content: bytes, remark: str | None) -> None:
    table = read(tmp_path, content)
    assert is_plain(table)
    said = " ".join(table.remarks)
    assert remark in said if remark else said == ""


def test_tsv_with_commas_in_the_texts(tmp_path: Path) -> None:
    table = read(tmp_path, "text\tlabel\none, two\t1\na, b, c\t2\n", "file.tsv")
    assert table.frame["text"].tolist() == ["one, two", "a, b, c"]


def test_quoted_newlines_delimiters_and_quotes(tmp_path: Path) -> None:
    table = read(tmp_path, 'text,label\n"first line\r\nsecond, ""line""",5\nplain,4\n')
    assert table.frame["text"].tolist() == ['first line\nsecond, "line"', "plain"]
    assert table.row(1) == 3


def test_one_text_a_line(tmp_path: Path) -> None:
    table = read(tmp_path, "text\nI came, I saw\nhello; goodbye\n", "pool.txt")
    assert table.frame["text"].tolist() == ["I came, I saw", "hello; goodbye"]


def test_a_text_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    table = read(tmp_path, "text,label,note\n" + "x" * 200_000 + ",1,\nshort,2,\n")
    assert table.frame["label"].tolist() == [1, 2]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas(tmp_path: Path, delimiter: str) -> None:
    rows = [("text", "y"), ("good, bad", "1,5"), ("fine", "-,5"), ("well", "3")]
    table = read(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert table.frame["y"].tolist() == [1.5, -0.5, 3]
    assert table.frame["text"][0] == "good, bad"
    assert "Decimal commas were read as decimal points in 'y'." in table.remarks


def test_decimal_commas_beside_words_for_missing(tmp_path: Path) -> None:
    table = read(tmp_path, "text;y\nNA;NA\nb;1,5\nc;NA\nd;2\n")
    assert table.frame.to_numpy().tolist() == [["NA", "NA"], ["b", "1.5"], ["c", "NA"], ["d", "2"]]
    assert "Decimal commas were read as decimal points in 'y'." in table.remarks


@pytest.mark.parametrize("delimiter", [",", "\t", "|"])
def test_thousands_are_no_decimals_whatever_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = [("text", "y"), ("good", "950"), ("fine", '"1,200"'), ("well", '"-12,300,000"'), ("so so", '"1,450"')]
    table = read(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert table.frame["y"].tolist() == ["950", "1,200", "-12,300,000", "1,450"]
    assert not any("Decimal commas" in remark for remark in table.remarks)


@pytest.mark.parametrize(
    ("delimiter", "cells", "numbers"),
    [
        ("\t", ["1,200", "0,950", "2"], [1.2, 0.95, 2]),
        ("\t", ["1,200", "1,45"], [1.2, 1.45]),
        (";", ["1,200", "950"], [1.2, 950]),
    ],
)
def test_a_cell_that_is_no_thousand_or_the_semicolon_tells_of_decimal_commas(
    tmp_path: Path, delimiter: str, cells: list[str], numbers: list[float]
) -> None:
    table = read(tmp_path, "\n".join(delimiter.join(row) for row in [("text", "y"), *(("a", cell) for cell in cells)]))
    assert table.frame["y"].tolist() == numbers
    assert "Decimal commas were read as decimal points in 'y'." in table.remarks


def test_codes_and_long_numbers_stay_strings(tmp_path: Path) -> None:
    table = read(tmp_path, "code,long,number\n007,12345678901234567890,1e3\n010,12345678901234567891,-.5\n")
    assert table.frame["code"].tolist() == ["007", "010"]
    assert table.frame["long"][1] == "12345678901234567891"
    assert table.frame["number"].tolist() == [1000, -0.5]


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "json", "xlsx"])
def test_whole_numbers_of_16_digits_keep_them_in_files_of_all_formats(tmp_path: Path, ending: str, blank: bool) -> None:
    numbers = [1790000000000001, 1790000000000002, None if blank else 3]
    path = tmp_path / f"file.{ending}"
    frame = pd.DataFrame({"text": ["a", "b", "c"], "no": pd.array(numbers, dtype="Int64")})
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "parquet": lambda: frame.to_parquet(path),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "json": lambda: frame.to_json(path, orient="records"),
        "xlsx": lambda: frame.to_excel(path, index=False),
    }[ending]()
    table = read_table(path)
    assert as_text(table.frame["no"]).tolist() == ["" if number is None else str(number) for number in numbers]
    assert table.remarks == ()


@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_integers_too_long_for_a_float_are_strings_or_a_sentence(tmp_path: Path, digits: int) -> None:
    record = f'{{"text": "a", "no": {"9" * digits}}}'
    for content, name in ((record, "file.jsonl"), (f"[{record}]", "file.json")):
        if digits > 4300:  # Python reads no more
            assert "line 1" in fault(tmp_path, content, name)
        else:
            assert read(tmp_path, content, name).frame["no"].tolist() == ["9" * digits]


def test_words_for_missing_stay_as_they_are_written(tmp_path: Path) -> None:
    table = read(tmp_path, "text,label\nNone,n/a\nNA,3\nnull,\n")
    assert table.frame["text"].tolist() == ["None", "NA", "null"]
    assert table.frame["label"][0] == "n/a"
    assert table.frame["label"].isna().tolist() == [False, False, True]


def test_umlauts_of_an_old_code_page(tmp_path: Path) -> None:
    table = read(tmp_path, "text;label\nschön, aber früh kaputt – 5 €;2\nGrüße aus Köln;5\n".encode("cp1252"))
    assert table.frame["text"].tolist() == ["schön, aber früh kaputt – 5 €", "Grüße aus Köln"]
    assert "cp1252" in table.remarks[0]


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        ("cp1252", "très déçu, la qualité est médiocre"),
        ("cp1252", "não recomendo, a alça partiu"),
        ("cp1250", "bardzo dobre słuchawki, ale źle leżą na głowie"),
        ("cp1253", "πολύ καλός βραστήρας, γρήγορος και ήσυχος, τον προτείνω"),
        ("shift_jis", "とても良いヘッドホンです。音がきれいで、電池も長持ちします。"),
        ("gb18030", "这个背包非常好，容量很大，拉链也很结实，推荐购买。"),
    ],
)
def test_other_old_code_pages(tmp_path: Path, codec: str, words: str) -> None:
    assert read(tmp_path, f"text;label\n{words};5\n".encode(codec)).frame["text"][0] == words


def test_cyrillic_of_an_old_code_page(tmp_path: Path) -> None:
    words = "Очень хороший чайник, быстро кипит и совсем не шумит. Рекомендую всем, кто любит чай по утрам."
    table = read(tmp_path, f"text;label\n{words};5\nПлохой рюкзак, молния сломалась через неделю.;1\n".encode("cp1251"))
    assert table.frame["text"][0] == words


def test_a_few_broken_bytes_do_not_spoil_the_rest(tmp_path: Path) -> None:
    content = ("text,label\n" + "größer und schöner,4\n" * 30).encode() + b"caf\xe9,5\n"
    table = read(tmp_path, content)
    assert table.frame["text"][0] == "größer und schöner"
    assert "line 32" in table.remarks[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"text,label\n", "no row below"),
        (b"text,label\n,\n\n", "no row below"),
        ("text,label\n".encode("utf-16"), "no row below"),
        (b"text,label\na,1\nb,2,3\n", "row 3 has 3 fields where the header has 2"),
        (b"text,label,x\na,1,2\nb,2\n", "row 3 has 2 fields where the header has 3"),
        (b'text,label\n"a\nb",1\n\nc,2\nd,3,4\n', "row 5 has 3 fields"),
        (b'text,label\na,1\n"b,2\nc,3\n', "row 3: a quotation mark opens and never closes"),
        (b"text,text \na,1\n", "more than one column called 'text'"),
        (b"text,label\na\x00\x01\x02,1\n", "binary"),
        (bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)), "binary"),
        (b"\xff\xfet\x00e", "is empty|breaks off|no row"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"PK\x03\x04....", "zip archive or an Excel workbook"),
        (b"PAR1....", "Parquet"),
        (b"\xd0\xcf\x11\xe0....", "old Excel"),
    ],
)
def test_faults_of_delimited_files(tmp_path: Path, content: bytes, words: str) -> None:
    message = fault(tmp_path, content)
    assert any(word in message for word in words.split("|")), message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("file.xls", b"anything", "save it as .xlsx"),
        ("file.docx", b"anything", "ends in .docx"),
        ("file", PLAIN.encode(), "has no ending"),
        ("file.xlsx", PLAIN.encode(), "no Excel workbook"),
        ("file.xlsx", b"PK\x03\x04 broken", "no Excel workbook"),
        ("file.parquet", PLAIN.encode(), "not a Parquet file"),
        ("file.parquet", b"PAR1 broken PAR1", "not a Parquet file"),
        ("file.json", PLAIN.encode(), "not valid JSON"),
        ("file.json", b'{"text": ["a"]}', "not a list of records"),
        ("file.json", b"[1, 2]", "not a list of records"),
        ("file.json", b"[{}]", "is empty"),
        ("file.jsonl", b'{"text": "a"}\n{"text": b}\n', "line 2 is not valid JSON"),
        ("file.jsonl", b'{"text": "a"}\n\n[1]\n', "line 3 is not a JSON object"),
        ("file.jsonl", b'{"text": "a", "text ": "b"}\n', "more than one column called 'text'"),
        ("file.tsv", b"", "is empty"),
    ],
)
def test_faults_of_other_formats(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    assert words in fault(tmp_path, content, name)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"There is no file .*nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")


def test_the_name_shown_may_differ_from_the_path(tmp_path: Path) -> None:
    (tmp_path / "3fa9.csv").write_text("")
    with pytest.raises(DataError, match=r"my reviews\.csv is empty"):
        read_table(tmp_path / "3fa9.csv", name="my reviews.csv")


def workbook(path: Path, *sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet {number}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_excel(tmp_path: Path) -> None:
    rows = [[], [" text\r", "label", None], ["lovely", 5, None], ["awful", 1], [], ["so so", 3.0]]
    table = read_table(workbook(tmp_path / "file.xlsx", [], rows, [["more"]]))
    assert table.frame.columns.tolist() == ["text", "label"]
    assert table.frame["label"].dropna().tolist() == [5, 1, 3]
    assert table.row(0) == 3
    assert "'Sheet 1'" in table.remarks[0]


def test_excel_cells_of_mixed_kinds(tmp_path: Path) -> None:
    rows = [["text", "label"], ["a", 1], ["b", "n/a"], ["c", True], [5, 2.5], ["e", pd.Timestamp("2026-01-02")]]
    frame = read_table(workbook(tmp_path / "file.xlsx", rows)).frame
    assert frame["label"].tolist() == ["1", "n/a", "true", "2.5", "2026-01-02T00:00:00"]
    assert frame["text"].tolist() == ["a", "b", "c", "5", "e"]


@pytest.mark.parametrize("rounded", [1790000000000000, 1790000000000000001, 1.23456789012345e18])
def test_numbers_that_excel_rounded_are_told(tmp_path: Path, rounded: float) -> None:
    rows = [["text", "tweet\nid", "exact", "short"], ["a", rounded, 1790000000000001, 12], ["b", None, 7, 0.5]]
    table = read_table(workbook(tmp_path / "file.xlsx", rows))
    said = "Excel keeps 15 digits of a number; those in 'tweet id' may have lost some: keep them as text."
    assert said in table.remarks
    assert table.frame["exact"].tolist() == ["1790000000000001", "7"]


def test_empty_and_header_only_workbooks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sheets hold no cell"):
        read_table(workbook(tmp_path / "empty.xlsx", []))
    with pytest.raises(DataError, match="no row below"):
        read_table(workbook(tmp_path / "header.xlsx", [["text", "label"]]))


def test_json_and_jsonl(tmp_path: Path) -> None:
    records = [{"text": "lovely", "label": 5}, {"text": "awful", "label": 1}, {"label": 3, "text": "so so"}]
    lines = "\r\n".join(json.dumps(record) for record in records)
    assert is_plain(read(tmp_path, json.dumps(records), "file.json"))
    assert is_plain(read(tmp_path, lines, "file.jsonl"))
    assert is_plain(read(tmp_path, lines, "file.ndjson"))
    assert is_plain(read(tmp_path, lines, "lines.json"))


def test_nested_values_and_missing_fields(tmp_path: Path) -> None:
    frame = read(tmp_path, '{"text": "a", "tags": ["x"]}\n{"text": "b\\u2028c", "label": 1}\n', "file.jsonl").frame
    assert frame["tags"][0] == '["x"]'
    assert frame["label"].isna().tolist() == [True, False]


@pytest.mark.parametrize("name", ["file.jsonl", "file.json"])
def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path, name: str) -> None:
    record = r'{"text": "bad \ud83d half", "whole": "\ud83d\ude00", "tags": ["\ude00"], "name \ud83d": 3}'
    frame = read(tmp_path, record if name == "file.jsonl" else f"[{record}]", name).frame
    assert frame.iloc[0].to_dict() == {"text": "bad ? half", "whole": "\U0001f600", "tags": '["?"]', "name ?": 3}


def test_a_parquet_file_whose_strings_are_no_utf8_is_a_sentence(tmp_path: Path) -> None:
    half = pa.array([b"\xed\xa0\xbd"]).view(pa.string())
    pq.write_table(pa.table({"text": half, "label": [3]}), tmp_path / "file.parquet")
    with pytest.raises(DataError, match="export it as CSV"):
        read_table(tmp_path / "file.parquet")


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["lovely", "awful", "so so"], " label": [5, 1, 3]}, index=[7, 8, 9])
    frame["kind"] = pd.Categorical(["x", None, "y"])
    frame["yes"] = [True, False, True]
    frame.to_parquet(tmp_path / "file.parquet")
    table = read_table(tmp_path / "file.parquet")
    assert is_plain(table)
    assert table.frame.columns.tolist() == ["text", "label", "kind", "yes"]
    assert table.frame["yes"].tolist() == ["true", "false", "true"]
    assert table.frame["kind"].isna().tolist() == [False, True, False]


def test_columns_without_a_name(tmp_path: Path) -> None:
    table = read(tmp_path, ",text,label,\n0,a,1,\n1,b,2,\n")
    assert table.frame.columns.tolist() == ["column 1", "text", "label"]
    assert "'column 1'" in table.remarks[0]


def is_table_or_sentence(path: Path) -> bool:
    try:
        return not read_table(path).frame.empty
    except DataError as caught:
        return "\n" not in str(caught)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), ending=st.sampled_from(["csv", "tsv", "xlsx", "json", "jsonl", "parquet"]))
def test_no_bytes_lead_to_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"random.{ending}"
    path.write_bytes(content)
    assert is_table_or_sentence(path)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet='ab1,;\t|"\r\n \x00é', max_size=60))
def test_no_text_leads_to_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "random_text.csv"
    path.write_bytes(text.encode())
    assert is_table_or_sentence(path)
