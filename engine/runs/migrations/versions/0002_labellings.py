"""Labelling on the page: labellings and their answers, and whether a study's labels are all of hard texts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; no study that is there was made by labelling on the page."""
    op.add_column("studies", sa.Column("skewed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "labellings",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("study_id", sa.String(), sa.ForeignKey("studies.id"), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_labellings_study_id", "labellings", ["study_id"])
    op.create_table(
        "answers",
        sa.Column("labelling_id", sa.String(), sa.ForeignKey("labellings.id"), primary_key=True),
        sa.Column("row", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables and the column."""
    for table in ("answers", "labellings"):
        op.drop_table(table)
    with op.batch_alter_table("studies") as studies:
        studies.drop_column("skewed")
