"""What is counted with, and what Prometheus gets to see of it."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from gateway.metrics import stream_pace
from gateway.metrics.exposition import render
from gateway.metrics.instruments import Counter, Description, Histogram
from gateway.metrics.model_lifecycle import RETIRES, ModelLifecycle
from gateway.metrics.names import CHUNK_BUCKETS
from gateway.metrics.stream_pace import StreamPace
from gateway.metrics.upstream_limits import UpstreamLimits
from gateway.responses import Response

NANO = 10**9


def test_a_counter() -> None:
    counter = Counter(Description("calls", "counter", "Calls.", ("model", "code")))
    counter.labels("opus", "200").add(2)
    counter.labels("opus", "200").add(3)
    counter.labels("haiku", "200")
    counter.begin("other", "500")

    assert counter.values == {("opus", "200"): 5, ("other", "500"): 0}


def test_a_histogram_counts_a_bound_into_its_bucket() -> None:
    histogram = Histogram(Description("times", "histogram", "Times.", buckets=(0.1, 1)))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.labels().observe(value)
    histogram.labels().add([0, 2, 0], 1.5)

    assert histogram.values == {(): [2, 3, 1, pytest.approx(9.15)]}
    assert Histogram(histogram.description).values == {}


def test_a_histogram_in_the_text_format() -> None:
    description = Description("times_seconds", "histogram", "Times.", ("model",), (0.1, 1, 2.5))

    assert render([description], {"times_seconds": {("opus",): [1, 0, 2, 3, 4.5]}}).decode() == (
        "# HELP times_seconds Times.\n"
        "# TYPE times_seconds histogram\n"
        'times_seconds_bucket{le="0.1",model="opus"} 1.0\n'
        'times_seconds_bucket{le="1.0",model="opus"} 1.0\n'
        'times_seconds_bucket{le="2.5",model="opus"} 3.0\n'
        'times_seconds_bucket{le="+Inf",model="opus"} 6.0\n'
        'times_seconds_count{model="opus"} 6.0\n'
        'times_seconds_sum{model="opus"} 4.5\n'
    )


def test_the_other_kinds_in_the_text_format() -> None:
    descriptions = [
        Description("cost_dollars", "counter", "Cost.", ("key",), unit=NANO),
        Description("left", "gauge", "Left.", across="latest"),
        Description("writes_seconds", "summary", "Writes."),
        Description("unknown", "gauge", "Nothing is known of it."),
    ]
    values = {
        "cost_dollars": {('kitchen "2"\n',): 1_234_567_891},
        "left": {(): [1700000000.0, 42]},
        "writes_seconds": {(): [3, 0.5]},
    }

    assert render(descriptions, values).decode() == (
        "# HELP cost_dollars_total Cost.\n"
        "# TYPE cost_dollars_total counter\n"
        'cost_dollars_total{key="kitchen \\"2\\"\\n"} 1.234567891\n'
        "# HELP left Left.\n"
        "# TYPE left gauge\n"
        "left 42.0\n"
        "# HELP writes_seconds Writes.\n"
        "# TYPE writes_seconds summary\n"
        "writes_seconds_count 3.0\n"
        "writes_seconds_sum 0.5\n"
    )


@pytest.mark.parametrize("nanodollars", [1, 999_999_999, 123_456_789_012_345, 100_000_000_000_001])
def test_dollars_are_exact_up_to_a_hundred_thousand(nanodollars: int) -> None:
    description = Description("cost_dollars", "counter", "Cost.", unit=NANO)
    line = render([description], {"cost_dollars": {(): nanodollars}}).decode().splitlines()[-1]
    assert Decimal(line.split()[1]) * NANO == nanodollars


def test_the_pace_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.0005, 10.0205, 10.6205, 1010.6205])
    monkeypatch.setattr(stream_pace, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    pace = StreamPace()
    assert pace.seconds == 0
    for _ in range(5):
        pace.tick()

    assert pace.seconds == pytest.approx(1000.6205)
    expected = dict.fromkeys(range(len(CHUNK_BUCKETS) + 1), 0) | {0: 1, 3: 1, 8: 1, 14: 1}
    assert pace.counts == list(expected.values())


def test_upstreams_limits_are_those_of_the_latest_answer() -> None:
    limits = UpstreamLimits()
    limits.note("claude-opus-5", [(b"anthropic-ratelimit-requests-remaining", b"7")])
    limits.note("claude-opus-4-8", [(b"anthropic-ratelimit-requests-remaining", b"6")])
    first = limits.values()["anthropic_gateway_ratelimit_remaining"]
    limits.note("claude-opus-5", [(b"x", b"1")])  # which says nothing of limits
    second = limits.values()["anthropic_gateway_ratelimit_remaining"]

    assert [value for _, value in first.values()] == [6]
    assert second == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"anthropic-ratelimit-requests-limit", b"many"),
        (b"anthropic-ratelimit-requests-limit", b"9" * 5000),
        (b"anthropic-ratelimit-requests-reset", b"soon"),
        (b"anthropic-ratelimit-moonbeams-limit", b"7"),
        (b"anthropic-ratelimit-unified-status", b"allowed"),
        (b"anthropic-organization-id", b"7"),
    ],
)
def test_what_is_no_limit_is_left_out(name: bytes, text: bytes) -> None:
    limits = UpstreamLimits()
    limits.note("claude-opus-5", [(name, text)])

    assert not any(limits.values().values())


def test_limits_with_a_price_of_their_own() -> None:
    limits = UpstreamLimits()
    limits.note(
        "claude-opus-5",
        [
            (b"anthropic-priority-input-tokens-limit", b"10"),
            (b"anthropic-fast-output-tokens-limit", b"20"),
        ],
    )

    found = limits.values()["anthropic_gateway_ratelimit_limit"]
    assert {labels: value for labels, (_, value) in found.items()} == {
        ("priority_input_tokens", "opus"): 10,
        ("fast_output_tokens", "opus"): 20,
    }


def told(data: object) -> Response:
    return Response(200, [], b"", data)


def retires(models: ModelLifecycle) -> dict[str, float]:
    return {labels[0]: value for labels, value in models.values()[RETIRES.name].items()}


def test_models_tell_when_they_retire() -> None:
    models = ModelLifecycle()
    opus = {"type": "model", "id": "claude-opus-5", "retires_at": "1970-01-02T00:00:00Z"}
    page = told({"data": [opus, {"type": "model", "id": "claude-haiku-4-5", "retires_at": None}, None]})

    assert models.note(page) is page
    assert retires(models) == {"claude-opus-5": 86400}
    models.note(told({**opus, "retires_at": "1970-01-03T00:00:00Z"}))
    assert retires(models) == {"claude-opus-5": 2 * 86400}
    models.note(told({**opus, "retires_at": None}))
    assert retires(models) == {}


@pytest.mark.parametrize(
    "data",
    [None, [], {"data": None}, {"type": "error"}, {"type": "model", "id": "m", "retires_at": "soon"}],
)
def test_other_answers_about_models(data: object) -> None:
    models = ModelLifecycle()
    models.note(told(data))

    assert retires(models) == {}
