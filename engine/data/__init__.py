"""Data: reading files, the roles of their columns, the check-list, and the arrays they become."""

from engine.data.checks import Check, check_data
from engine.data.dataset import Dataset, prepare, prepare_pool
from engine.data.reading import Table, ending_of, read_parquet_start, read_table
from engine.data.roles import Roles, find_text, guess_roles
from engine.data.sealing import fewest_to_finetune

__all__ = [
    "Check",
    "Dataset",
    "Roles",
    "Table",
    "check_data",
    "ending_of",
    "fewest_to_finetune",
    "find_text",
    "guess_roles",
    "prepare",
    "prepare_pool",
    "read_parquet_start",
    "read_table",
]
