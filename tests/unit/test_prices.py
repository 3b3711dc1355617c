"""Every amount was worked out by hand, in nano-dollars: $1 per million tokens is 1,000 a token."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from anthropic.types import model as sdk

from gateway.prices import NANODOLLARS, PriceError, PriceTable, dollars, nanodollars
from gateway.usage import Sampling, Usage, estimate_input_tokens, merge

NOV = date(2026, 11, 22)
TABLE = PriceTable.load()


def tokens(input_tokens=0, output_tokens=0, read=0, written=0, **more):
    """A usage object as Anthropic writes it."""
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "service_tier": "standard",
        **more,
    }


def split(five_minutes=0, one_hour=0):
    return {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": one_hour}


def searches(count, fetches=0):
    return {"web_search_requests": count, "web_fetch_requests": fetches}


def iteration(kind, input_tokens, output_tokens, model=None, read=0, written=0):
    entry = {"type": kind, **tokens(input_tokens, output_tokens, read, written)}
    return entry if model is None else {**entry, "model": model}


# model, usage, stop_reason, nano-dollars
SAMPLES = {
    # Plain calls: input x price + output x price.
    "sonnet-4-hello": ("claude-sonnet-4-20250514", tokens(10, 8), None, 150_000),  # 10x3000 + 8x15000
    "sonnet-3-7": ("claude-3-7-sonnet-20250219", tokens(1000, 500), None, 10_500_000),
    "sonnet-3-5-latest": ("claude-3-5-sonnet-latest", tokens(2000, 100), None, 7_500_000),
    "opus-3-latest": ("claude-3-opus-latest", tokens(10, 8), None, 750_000),  # 10x15000 + 8x75000
    "opus-3-dated": ("claude-3-opus-20240229", tokens(1, 1), None, 90_000),
    "haiku-3": ("claude-3-haiku-20240307", tokens(1000, 1000), None, 1_500_000),  # 250 + 1250 each
    "haiku-3-5": ("claude-3-5-haiku-20241022", tokens(1000, 1000), None, 4_800_000),
    "opus-4-1": ("claude-opus-4-1-20250805", tokens(100, 10), None, 2_250_000),
    "opus-4-0": ("claude-opus-4-0", tokens(100, 10), None, 2_250_000),
    "opus-4-5": ("claude-opus-4-5-20251101", tokens(100, 10), None, 750_000),
    "opus-4-8": ("claude-opus-4-8", tokens(123_456, 7_890), None, 814_530_000),  # 617,280,000 + 197,250,000
    "opus-5": ("claude-opus-5", tokens(1, 1), None, 30_000),
    "opus-5-5": ("claude-opus-5-5", tokens(1000, 1000), None, 24_000_000),
    "sonnet-4-6": ("claude-sonnet-4-6", tokens(300_000, 1000), None, 915_000_000),  # no dearer when large
    "sonnet-5": ("claude-sonnet-5", tokens(1000, 1000), None, 12_000_000),
    "sonnet-5-5": ("claude-sonnet-5-5", tokens(7, 3), None, 44_000),
    "haiku-4-5": ("claude-haiku-4-5-20251001", tokens(1000, 200), None, 2_000_000),
    "fable-5": ("claude-fable-5", tokens(1000, 1000), None, 60_000_000),
    "fable-5-1": ("claude-fable-5-1", tokens(1000, 1000), None, 60_000_000),
    "fable-5-2": ("claude-fable-5-2", tokens(1000, 1000), None, 48_000_000),
    "mythos-preview": ("claude-mythos-preview", tokens(1, 0), None, 10_000),
    "nothing": ("claude-sonnet-4-6", tokens(), None, 0),
    # The cache: read 0.1x, written 1.25x for five minutes, 2x for an hour, unless the model says otherwise.
    "read": (
        "claude-sonnet-4-6",
        tokens(10, 10, read=100_000),
        None,
        30_180_000,
    ),  # 30,000 + 150,000 + 30,000,000
    "written-unsplit": ("claude-sonnet-4-6", tokens(0, 0, written=1000), None, 3_750_000),
    "written-5m": (
        "claude-sonnet-4-6",
        tokens(0, 0, written=1000, cache_creation=split(1000)),
        None,
        3_750_000,
    ),
    "written-1h": (
        "claude-sonnet-4-6",
        tokens(0, 0, written=1000, cache_creation=split(0, 1000)),
        None,
        6_000_000,
    ),
    "written-both": (
        "claude-opus-4-5",
        tokens(50, 20, read=4000, written=1000, cache_creation=split(400, 600)),
        None,
        11_250_000,  # 250,000 + 500,000 + 2,000,000 + 400x6250 + 600x10000
    ),
    "split-alone": (
        "claude-haiku-4-5",
        {"input_tokens": 1, "output_tokens": 1, "cache_creation": split(100, 10)},
        None,
        151_000,  # 1000 + 5000 + 100x1250 + 10x2000
    ),
    "stale-split": ("claude-haiku-4-5", tokens(1, 1, cache_creation=split(0, 4369)), None, 6_000),
    "read-fable-5-1": ("claude-fable-5-1", tokens(0, 0, read=1000), None, 250_000),  # 0.025x
    "read-fable-5-2": ("claude-fable-5-2", tokens(0, 0, read=1000, written=100), None, 1_200_000),
    "read-opus-5-5": (
        "claude-opus-5-5",
        tokens(0, 0, 1000, 300, cache_creation=split(200, 100)),
        None,
        2_000_000,
    ),
    "read-sonnet-5-5": ("claude-sonnet-5-5", tokens(0, 0, read=1000), None, 100_000),
    "haiku-3-cache": ("claude-3-haiku-20240307", tokens(0, 0, read=1000, written=1000), None, 330_000),
    # Large prompts: the whole request at the higher price, the cached part counted in.
    "haiku-5-5-at-the-edge": ("claude-haiku-5-5", tokens(100_000, 1000), None, 10_500_000),
    "haiku-5-5-above": ("claude-haiku-5-5", tokens(100_001, 1000), None, 52_500_500),
    "haiku-5-5-cached-above": (
        "claude-haiku-5-5",
        tokens(1, 2, 90_000, 10_000, cache_creation=split(9_000, 1_000)),
        None,
        11_130_500,  # 500 + 5000 + 90,000x50 + 9,000x625 + 1,000x1000
    ),
    "haiku-5-5-cached-below": ("claude-haiku-5-5", tokens(1, 2, 90_000, 9_999), None, 2_150_975),
    "sonnet-4-5-above": ("claude-sonnet-4-5-20250929", tokens(200_001, 100), None, 1_202_256_000),
    "sonnet-4-at-the-edge": ("claude-sonnet-4-20250514", tokens(200_000, 100), None, 601_500_000),
    # Tiers, regions, speed.
    "batch": ("claude-sonnet-4-6", tokens(1000, 1000, service_tier="batch"), None, 9_000_000),
    "batch-cached": (
        "claude-sonnet-4-6",
        tokens(0, 0, read=1000, written=1000, service_tier="batch"),
        None,
        2_025_000,
    ),
    "batch-half-a-nanodollar": (
        "claude-haiku-5-5",
        tokens(0, 0, read=1, service_tier="batch", inference_geo="us"),
        None,
        6,  # 10 x 0.5 x 1.1 = 5.5, half up
    ),
    "batch-a-quarter-of-one": (
        "claude-haiku-5-5",
        tokens(0, 0, written=3, service_tier="batch", inference_geo="us"),
        None,
        206,  # 375 x 0.5 x 1.1 = 206.25
    ),
    "batch-us": (
        "claude-opus-4-8",
        tokens(1000, 1000, service_tier="batch", inference_geo="us"),
        None,
        16_500_000,  # 30,000,000 x 0.55
    ),
    "priority": ("claude-sonnet-4-6", tokens(1000, 1000, service_tier="priority"), None, 18_000_000),
    "us": ("claude-opus-4-6", tokens(1000, 1000, inference_geo="us"), None, 33_000_000),
    "global": ("claude-opus-4-6", tokens(1000, 1000, inference_geo="global"), None, 30_000_000),
    "region-unknown": ("claude-sonnet-4-5", tokens(1000, 0, inference_geo="not_available"), None, 3_000_000),
    "fast": ("claude-opus-4-8", tokens(1000, 1000, speed="fast"), None, 60_000_000),
    "fast-cached": ("claude-opus-5", tokens(0, 0, read=1000, written=1000, speed="fast"), None, 13_500_000),
    "fast-us": ("claude-opus-4-6", tokens(1000, 0, speed="fast", inference_geo="us"), None, 33_000_000),
    "standard-speed": ("claude-opus-5", tokens(1, 0, speed="standard"), None, 5_000),
    # Server tools: $10 per thousand searches, neither halved for a batch nor raised for a region.
    "search": ("claude-sonnet-4-6", tokens(100, 10, server_tool_use=searches(3)), None, 30_450_000),
    "search-batch": (
        "claude-sonnet-4-6",
        tokens(100, 10, service_tier="batch", inference_geo="us", server_tool_use=searches(1)),
        None,
        10_247_500,  # 450,000 x 0.55 + 10,000,000
    ),
    "fetch": ("claude-sonnet-4-6", tokens(100, 10, server_tool_use=searches(0, 9)), None, 450_000),
    # Refusals.
    "refused-at-once": ("claude-fable-5", tokens(5000, 0), "refusal", 0),
    "refused-midway": ("claude-fable-5", tokens(5000, 20), "refusal", 51_000_000),
    "empty-but-not-refused": ("claude-fable-5", tokens(100, 0), "end_turn", 1_000_000),
    # Iterations: each by its own model, and they are the record of the bill.
    "one-iteration": (
        "claude-opus-4-8",
        tokens(10, 10, iterations=[iteration("message", 10, 10)]),
        "end_turn",
        300_000,
    ),
    "compaction": (
        "claude-opus-4-6",
        tokens(
            23_000,
            1_000,
            iterations=[iteration("compaction", 180_000, 3_500), iteration("message", 23_000, 1_000)],
        ),
        "end_turn",
        1_127_500_000,  # 900,000,000 + 87,500,000 + 115,000,000 + 25,000,000
    ),
    "advisor": (
        "claude-haiku-4-5",
        tokens(
            500,
            100,
            iterations=[
                iteration("message", 500, 100),
                iteration("advisor_message", 1000, 100, "claude-opus-4-8"),
            ],
        ),
        "end_turn",
        8_500_000,  # 500,000 + 500,000 + 5,000,000 + 2,500,000
    ),
    "fallback-declined-before-output": (
        "claude-opus-4-8",
        tokens(
            412,
            264,
            iterations=[
                iteration("message", 535, 0, "claude-fable-5"),
                iteration("fallback_message", 412, 264, "claude-opus-4-8"),
            ],
        ),
        "end_turn",
        8_660_000,  # 412x5000 + 264x25000
    ),
    "fallback-declined-midway": (
        "claude-opus-4-8",
        tokens(
            412,
            264,
            iterations=[
                iteration("message", 535, 40, "claude-fable-5"),
                iteration("fallback_message", 412, 264, "claude-opus-4-8"),
            ],
        ),
        "end_turn",
        16_010_000,  # 5,350,000 + 2,000,000 + 8,660,000
    ),
    "all-declined": (
        "claude-opus-4-8",
        tokens(
            5,
            0,
            iterations=[iteration("message", 5, 0, "claude-fable-5"), iteration("fallback_message", 5, 0)],
        ),
        "refusal",
        0,
    ),
    "declined-without-a-fallback": (
        "claude-opus-4-8",
        tokens(5, 0, iterations=[iteration("message", 5, 0)]),
        "refusal",
        0,
    ),
    "iterations-at-two-sizes": (
        "claude-haiku-5-5",
        tokens(100_002, 2, iterations=[iteration("message", 100_001, 1), iteration("message", 1, 1)]),
        "end_turn",
        50_003_600,  # 100,001x500 + 2,500 + 100 + 500
    ),
    # Odd answers must not break the booking.
    "nulls": (
        "claude-haiku-4-5",
        {
            "input_tokens": 2,
            "output_tokens": 1,
            "cache_read_input_tokens": None,
            "cache_creation": None,
            "server_tool_use": None,
            "service_tier": None,
            "iterations": None,
        },
        None,
        7_000,
    ),
    "not-numbers": (
        "claude-haiku-4-5",
        {"input_tokens": "5", "output_tokens": -3, "cache_creation": []},
        None,
        0,
    ),
    "no-whole-numbers": ("claude-haiku-4-5", {"input_tokens": 1.5, "output_tokens": True}, None, 0),
}


@pytest.mark.parametrize(("model", "usage", "stop_reason", "expected"), SAMPLES.values(), ids=SAMPLES)
def test_a_usage_costs_what_it_costs_by_hand(model, usage, stop_reason, expected):
    assert TABLE.cost(Usage.read(model, usage, stop_reason), NOV)[:2] == (expected, True)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 9, 28), 200_000),
        (date(2026, 10, 6), 200_000),
        (date(2026, 10, 7), 100_000),
        (date(2024, 1, 1), 200_000),  # before the first row: the first row
    ],
)
def test_a_price_holds_from_its_day(day, expected):
    usage = Usage.read("claude-sonnet-5-5", tokens(read=1000))
    assert TABLE.cost(usage, day).nanodollars == expected


@pytest.mark.parametrize(
    "model", ["claude-nova-7", "", "claude-opus-5-5-20261122-x", "claude-opus-5-9", "gpt-6"]
)
def test_an_unknown_model_takes_the_dearest_price_of_each_kind_and_says_so(model):
    usage = Usage.read(model, tokens(1000, 1000, read=1000))
    assert TABLE.cost(usage, NOV)[:2] == (15_000_000 + 75_000_000 + 1_500_000, False)


@pytest.mark.parametrize("models", [("gpt-6", "claude-opus-5"), ("claude-opus-5", "gpt-6")])
def test_one_unknown_model_among_several_flags_the_call(models):
    parts = [iteration("message", 1, 1, model) for model in models]
    assert not TABLE.cost(Usage.read("claude-opus-5", tokens(1, 1, iterations=parts)), NOV).known


def test_an_unknown_speed_or_tier_is_flagged_and_never_cheap():
    fast = Usage.read("claude-haiku-4-5", tokens(1000, 1000, speed="fast"))
    assert TABLE.cost(fast, NOV)[:2] == (30_000_000 + 150_000_000, False)
    tier = Usage.read("claude-haiku-4-5", tokens(1000, 0, service_tier="flex"))
    assert TABLE.cost(tier, NOV)[:2] == (1_000_000, False)


def test_a_call_is_rounded_once_and_not_by_part():
    parts = [iteration("message", 0, 0, read=1) for _ in range(4)]
    usage = Usage.read(
        "claude-haiku-5-5", tokens(service_tier="batch", inference_geo="us", iterations=parts), "end_turn"
    )
    assert TABLE.cost(usage, NOV).nanodollars == 22  # 4 x 5.5; by part it would be 24


def test_a_redeemed_fallback_credit_makes_the_cost_an_estimate():
    redeemed = tokens(1, 1, fallback_credit={"status": {"type": "redeemed"}})
    refused = tokens(1, 1, fallback_credit={"status": {"type": "not_applied", "reason": "expired"}})
    assert Usage.read("claude-opus-4-8", redeemed).estimated
    assert not Usage.read("claude-opus-4-8", refused).estimated


def test_the_total_of_several_passes_has_every_count():
    parts = [
        {**iteration("message", 1, 20, read=300, written=9_000), "cache_creation": split(4_000, 5_000)},
        {**iteration("message", 2, 30, read=400, written=8_000), "cache_creation": split(1_000, 7_000)},
    ]
    total = Usage.read("claude-opus-5", tokens(iterations=parts)).total
    assert total == Sampling("claude-opus-5", 3, 50, 700, 5_000, 12_000)


def test_a_stream_is_read_from_its_first_and_last_event():
    start = tokens(25, 1, read=7, inference_geo="us", server_tool_use=None)
    delta = {"output_tokens": 15, "input_tokens": None, "server_tool_use": searches(2)}
    usage = Usage.read("claude-opus-4-8", merge(start, delta), "end_turn")
    assert (usage.total.input_tokens, usage.total.output_tokens, usage.total.cache_read_tokens) == (25, 15, 7)
    assert (usage.inference_geo, usage.web_search_requests, usage.estimated) == ("us", 2, False)


@pytest.mark.parametrize(
    ("started", "text_bytes", "input_tokens", "expected"),
    [
        (tokens(100, 1, read=50), 400, 999, (100, 100, 50)),
        (tokens(100, 300), 400, 999, (100, 300, 0)),
        (tokens(0, 0), 10, 77, (77, 3, 0)),  # some upstreams send zeros first
        (tokens(0, 0, read=50), 10, 77, (0, 3, 50)),  # the whole prompt came from the cache
        (
            tokens(5, 1, iterations=[iteration("compaction", 9, 90), iteration("message", 5, 1)]),
            400,
            999,
            (14, 190, 0),
        ),
        (
            tokens(5, 1, iterations=[iteration("message", 9, 0), iteration("fallback_message", 5, 0)]),
            40,
            999,
            (5, 10, 0),  # an attempt that was declined, and the next one, broken off before its count came
        ),
        (tokens(5, 1, iterations=["odd"]), 40, 999, (5, 10, 0)),
        (None, 0, 77, (77, 0, 0)),
    ],
)
def test_a_broken_call_is_booked_at_its_floor(started, text_bytes, input_tokens, expected):
    usage = Usage.floor("claude-opus-4-8", started, text_bytes=text_bytes, input_tokens=input_tokens)
    total = usage.total
    assert (total.input_tokens, total.output_tokens, total.cache_read_tokens) == expected
    assert usage.estimated


def test_a_quote_prices_the_prompt_and_the_longest_answer():
    assert TABLE.quote("claude-sonnet-4-6", NOV, 1000, 64_000) == (3_000_000, 960_000_000)
    assert TABLE.quote("claude-opus-4-8", NOV, 1, 1, fast=True) == (10_000, 50_000)
    assert TABLE.quote("claude-haiku-5-5", NOV, 100_001, 10) == (50_000_500, 25_000)


def test_an_estimate_sees_pictures_as_pictures():
    data = "x" * 1_000_000
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    paper = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}
    nested = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    for block, expected in ((picture, 1600), (nested, 1600), (paper, 31_250)):
        body = {"messages": [{"role": "user", "content": [block]}]}
        assert estimate_input_tokens(body, 1_000_000) == expected + 1
    assert estimate_input_tokens({"messages": [{"role": "user", "content": "hi"}]}, 4_000) == 1001
    text = {"messages": [{"role": "user", "content": "y" * 400_000}]}
    assert estimate_input_tokens(text, 400_000) == 100_001


def test_every_model_of_the_sdk_and_the_seed_has_a_price():
    known = [name for member in get_args(sdk.Model) for name in get_args(member)]
    assert len(known) >= 15
    assert [name for name in known if not TABLE.knows(name)] == []
    seed = ["claude-sonnet-4-20250514", "claude-3-7-sonnet-20250219", "claude-3-5-sonnet-latest"]
    assert all(TABLE.knows(name) for name in [*seed, "claude-3-opus-latest", "claude-3-opus-20240229"])


def test_rows_seen_second_hand_only_are_named():
    assert "claude-haiku-5-5" in TABLE.unchecked
    assert "claude-opus-4-8" not in TABLE.unchecked


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_operator_overrides_a_model_and_a_multiplier(tmp_path):
    own = """
        version = "mine"
        [regions]
        eu = "1.5"
        [[model]]
        ids = ["claude-opus-4-8", "local-llama"]
        from = 2020-01-01
        input = "0.001"
        output = "1"
    """
    table = PriceTable.load(write(tmp_path / "prices.toml", own))
    assert table.version == "mine"
    for model in ("claude-opus-4-8", "local-llama"):
        assert table.cost(Usage.read(model, tokens(1000, 1)), NOV)[:2] == (2_000, True)
    for region, expected in (("eu", 750_000), ("us", 550_000)):
        untouched = Usage.read("claude-opus-5", tokens(100, 0, inference_geo=region))
        assert table.cost(untouched, NOV)[:2] == (expected, True)


def test_tools_cost_what_the_operator_says(tmp_path):
    own = '[tools]\nweb_fetch_per_thousand = "2"\ncode_execution_per_thousand = "0.5"'
    table = PriceTable.load(write(tmp_path / "prices.toml", own))
    used = {"web_search_requests": 1, "web_fetch_requests": 10, "code_execution_requests": 100}
    usage = Usage.read("claude-opus-5", tokens(server_tool_use=used))
    assert table.cost(usage, NOV).nanodollars == 10_000_000 + 20_000_000 + 50_000_000


TWO_ROWS = """
    [[model]]
    ids = ["house"]
    from = 2026-06-01
    input = "0.0005"
    output = "0.0005"
    [[model]]
    ids = ["house"]
    from = 2026-01-01
    input = "100"
    output = "200"
    above = 10
    [model.large]
    input = "300"
    output = "400"
    [model.fast]
    input = "1000"
    output = "2000"
"""


def test_rows_may_stand_in_any_order_and_each_holds_for_its_time(tmp_path):
    table = PriceTable.load(write(tmp_path / "prices.toml", TWO_ROWS))
    spring, summer = date(2026, 5, 31), date(2026, 6, 1)
    large, fast = tokens(11, 1), tokens(11, 1, speed="fast")
    assert table.cost(Usage.read("house", large), spring)[:2] == (11 * 300_000 + 400_000, True)
    assert table.cost(Usage.read("house", fast), spring)[:2] == (11 * 1_000_000 + 2_000_000, True)
    assert table.cost(Usage.read("house", tokens(11, 2)), summer)[:2] == (7, True)  # 6.5, half up
    assert table.quote("house", summer, 1, 1) == (1, 1)  # what is held is never too little
    assert table.cost(Usage.read("unknown", large), spring)[:2] == (11 * 300_000 + 400_000, False)
    assert table.cost(Usage.read("unknown", large), summer)[:2] == (11 * 15_000 + 75_000, False)


def test_without_an_override_the_shipped_table_holds(tmp_path):
    assert PriceTable.load(tmp_path / "absent.toml").version == TABLE.version


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[model]", "prices.toml"),
        ('[[model]]\nids=["a"]\nfrom=2026-01-01\ninput=3.1\noutput="1"', "input must be a number in quotes"),
        ('[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="-3"\noutput="1"', "input must be a number in quotes"),
        (
            '[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="abc"\noutput="1"',
            "input must be a number in quotes",
        ),
        ('[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="1"\noutput="Infinity"', "output must be a number in"),
        ('[[model]]\nids=["a"]\nfrom="2026"\ninput="3"\noutput="1"', "`from` must be a date"),
        ('[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="3"', "'output' is missing"),
        ('[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"\nabove=5', "belong together"),
        ('[[model]]\nids=["a","a"]\nfrom=2026-01-01\ninput="3"\noutput="1"', "two prices from the same day"),
        ('[service_tiers]\nodd="0.3333333333"', "more than nine decimals"),
        ('[regions]\nodd="0.3333333333"', "more than nine decimals"),
        (
            '[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"\n'
            '[model.fast]\ninput="0.0000000001"\noutput="1"',
            "more than nine decimals",
        ),
        ('[[models]]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"', "models is unknown"),
        ('[model]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"', r"\[\[model\]\]"),
        ('[[model]]\nids="a"\nfrom=2026-01-01\ninput="3"\noutput="1"', "`ids` a list"),
        (
            '[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"\ncache_reads="1"',
            r"cache_reads is unknown in \[model\]",
        ),
        (
            '[[model]]\nids=["a"]\nfrom=2026-01-01\ninput="3"\noutput="1"\n'
            '[model.fast]\ninput="1"\noutput="1"\ncached="1"',
            r"cached is unknown in \[model.fast\]",
        ),
        ('[multipliers]\nbatch="0.4"', r"batch is unknown in \[multipliers\]"),
        ('[tools]\nweb_search="8"', r"web_search is unknown in \[tools\]"),
        ("regions=3", "regions must be a table"),
    ],
)
def test_a_faulty_override_is_refused_with_its_place(tmp_path, text, reason):
    with pytest.raises(PriceError, match=reason) as refusal:
        PriceTable.load(write(tmp_path / "prices.toml", text))
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (NANODOLLARS, "1"),
        (1_500_000_000, "1.5"),
        (12_345_678_900_000_000_001, "12345678900.000000001"),
        (-250_000_000, "-0.25"),
    ],
)
def test_dollars_are_written_exactly(amount, text):
    assert dollars(amount) == text
    assert nanodollars(Decimal(text)) == amount


def test_what_lies_below_a_nanodollar_is_cut_off():
    assert nanodollars(Decimal("0.0000000019")) == 1
