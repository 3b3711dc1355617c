"""The tables. Times are milliseconds since 1970, days ISO dates in BUDGET_TIMEZONE, money nano-dollars."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite keeps rows in the order of their id, and numbers them, only where the column is spelt INTEGER."""


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Counters that tell other processes that something has changed."""

instances = Table(
    "instances",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("token", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""The running processes: whose `started` calls are still under way."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("previous_digest", LargeBinary),
    Column("previous_until", BigInteger),
    Column("scopes", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("budget", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revision", BigInteger, nullable=False, index=True),
)
Index(
    "uq_keys_name_live",
    keys.c.name,
    unique=True,
    sqlite_where=text("revoked_at IS NULL"),
    postgresql_where=text("revoked_at IS NULL"),
)

calls = Table(
    "calls",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("instance_id", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("estimated", Boolean(create_constraint=False), nullable=False),
    Column("reserved", BigInteger, nullable=False),
    _count("output_tokens"),
    _count("cache_read_tokens"),
    _count("cache_write_5m_tokens"),
    _count("cache_write_1h_tokens"),
    _count("web_search_requests"),
    _count("web_fetch_requests"),
    _count("code_execution_requests"),
    Column("requests", BigInteger, nullable=False, server_default="1"),
    Column("priced", Boolean(create_constraint=False), nullable=False, server_default=text("true")),
    Column("service_tier", Text),
    Column("inference_geo", Text),
    Column("speed", Text),
    Column("http_status", Integer),
    Column("upstream_request_id", Text),
    Column("ended_at", BigInteger),
)
"""The ledger: one row a call, written before it and settled after it."""
Index(
    "ix_calls_started",
    calls.c.instance_id,
    sqlite_where=text("status = 'started'"),
    postgresql_where=text("status = 'started'"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    Column("day", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    _count("requests"),
    _count("estimated_requests"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("cache_read_tokens"),
    _count("cache_write_tokens"),
    _count("cost"),
    Index(None, "key_id", "day"),
    sqlite_with_rowid=False,
)
"""The ledger's settled rows summed up in the same transaction: reports and budgets never scan the ledger."""

budgets = Table(
    "budgets",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("day", Text, nullable=False),
    Column("day_spent", BigInteger, nullable=False),
    Column("day_reserved", BigInteger, nullable=False),
    Column("month", Text, nullable=False),
    Column("month_spent", BigInteger, nullable=False),
    Column("month_reserved", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What each key with a budget has spent and reserved in the running day and month."""

booked_batches = Table(
    "booked_batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("booked_at", BigInteger, nullable=False),
)
"""Batches whose cost is in the ledger: results may be read any number of times."""

ended_batches = Table(
    "ended_batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("batch", LargeBinary),
    Column("content_id", Text),
    Column("ended_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
"""Batches that were seen to have ended: what Anthropic said of them then, and the content of the results."""

webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
)
"""What is still to be told to the operator's webhook."""

owners = Table(
    "owners",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("resource_id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "key_id", "kind", "created_at", "resource_id"),
    sqlite_with_rowid=False,
)
"""Which key made which of Anthropic's resources."""

audit = Table(
    "audit",
    metadata,
    Column("sequence", _ROW_ID, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""What was done and refused; each row's hash covers the one before it."""

contents = Table(
    "contents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Index(None, "key_id", "kind"),
)
"""What callers asked to be kept, whose it is and when it ends; the bytes are files, or `content_chunks`."""

content_chunks = Table(
    "content_chunks",
    metadata,
    Column("content_id", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
"""Their bytes where replicas share the database, a piece a row."""

async_messages = Table(
    "async_messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("instance_id", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("request_content", Text, nullable=False),
    Column("answer_content", Text),
    Column("http_status", Integer),
    Column("upstream_request_id", Text),
    Column("cost", BigInteger),
    Column("estimated", Boolean(create_constraint=False)),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
"""Messages that are answered in their own time. Prompt and answer are contents."""
Index(
    "ix_async_messages_unfinished",
    async_messages.c.key_id,
    sqlite_where=text("status IN ('queued', 'running')"),
    postgresql_where=text("status IN ('queued', 'running')"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", Text, nullable=False, index=True),
    Column("operation", Text, nullable=False),
    Column("fingerprint", LargeBinary),
    Column("instance_id", BigInteger, nullable=False),
    Column("claim", Text, nullable=False),
    Column("status", Integer),
    Column("headers", Text),
    Column("content_id", Text),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
"""Requests by the idempotency key they came with: under way while `status` is null, else to be replayed."""
