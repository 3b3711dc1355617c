"""Batches that have ended, and what is to be told of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MONTH = 31 * 86_400_000
"""Milliseconds for which a batch would be followed."""


def upgrade() -> None:
    """Create the tables; batches that are booked already are not announced, nor fetched again."""
    op.create_table(
        "ended_batches",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=True),
        sa.Column("content_id", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_ended_batches"),
    )
    op.create_index("ix_ended_batches_expires_at", "ended_batches", ["expires_at"])
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_messages"),
    )
    op.create_index("ix_webhook_messages_next_at", "webhook_messages", ["next_at"])
    booked = sa.table("booked_batches", sa.column("batch_id"), sa.column("booked_at"))
    owners = sa.table("owners", sa.column("kind"), sa.column("resource_id"), sa.column("key_id"))
    ended = sa.table(
        "ended_batches", *(sa.column(name) for name in ("batch_id", "key_id", "ended_at", "expires_at"))
    )
    known = sa.select(
        booked.c.batch_id, owners.c.key_id, booked.c.booked_at, booked.c.booked_at + MONTH
    ).join_from(booked, owners, (owners.c.kind == "batches") & (owners.c.resource_id == booked.c.batch_id))
    op.execute(ended.insert().from_select(["batch_id", "key_id", "ended_at", "expires_at"], known))
