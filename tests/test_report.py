from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import pytest
from torch import nn

from agents.drawing import draw_curve, draw_network, ticks
from agents.page import duration, escape, number, scaled
from agents.report import render_report
from nas_gym.evaluation import ACCURACY, Evaluation, Metric, Request, Status
from nas_gym.objectives import Objective, make_objective
from nas_gym.search_spaces import (
    Architecture,
    Layer,
    LayerCNN,
    NASBench201,
    NASBenchMacro,
    PlainCNN,
    SearchSpace,
)

HOSTILE = "</title><script>alert('&amp;')</script>\"' \x00\x0b\ud800\uffff ]]> <!--"
SVG = "{http://www.w3.org/2000/svg}"


METRICS = (ACCURACY, Metric("loss", up=False), Metric("top5", unit="%"))
OBJECTIVE = make_objective("accuracy", METRICS)


def child(
    width: int, accuracy: float = 0.0, loss: float | None = None, **values: Any
) -> Evaluation:
    architecture = Architecture("layer_cnn", (("conv3", width, "relu", "batch_norm"),))
    scores = {"accuracy": accuracy} | ({} if loss is None else {"loss": loss})
    return replace(Evaluation(Request(architecture), "ok", scores, seconds=2.0), **values)


def failed(width: int, status: Status = "diverged") -> Evaluation:
    return child(width, scores={}, status=status, detail="the loss is no number")


# Two repeats (of 1 and 3), a failure first, a tie on accuracy that the loss decides (2 and 3) and
# one that the order decides (3 and 4).
SEARCH = [
    failed(9),
    child(1, 0.80, loss=0.7, seconds=1.0),
    child(2, 0.90, loss=0.5, seconds=3.0),
    child(1, 0.80, loss=0.7, seconds=1.0),
    child(3, 0.90, loss=0.4, seconds=4.0),
    child(4, 0.90, loss=0.4, seconds=5.0),
    child(3, 0.90, loss=0.4, seconds=4.0),
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (scaled(None), "\u2013"),
        (scaled(0), "0"),
        (scaled(812), "812"),
        (scaled(12_345), "12.3k"),
        (scaled(999_600), "1.00M"),
        (scaled(1_752_000, " "), "1.75 M"),
        (scaled(10**16), "10000T"),
        (ACCURACY.format(0.97496), "97.50%"),
        (ACCURACY.format(None), "-"),
        (ACCURACY.format(math.nan), "-"),
        (ACCURACY.spread(0.975, 0.0012), "97.50 ± 0.12%"),
        (ACCURACY.spread(0.975, None), "97.50%"),
        (Metric("params").format(1_234_567), "1,234,567"),
        (Metric("seconds", unit="s").format(12.34567), "12.35 s"),
        (Metric("perplexity").spread(98.7654, 0.123), "98.77 ± 0.12"),
        (duration(0), "0.0 s"),
        (duration(200.4), "3 min 20 s"),
        (duration(3599.0), "1 h 0 min"),
        (duration(18_720), "5 h 12 min"),
        (number(1, "child", "children"), "1 child"),
        (number(1200, "proposal"), "1,200 proposals"),
    ],
)
def test_numbers_as_people_read_them(value: str, text: str) -> None:
    assert value == text


def parse(svg: str) -> ElementTree.Element:
    """The picture as XML; every mark must lie on a finite place."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert not re.search(r"\b(nan|inf)\b", re.sub(">[^<]*<", "><", svg))
    return root


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in parse(svg).iter(f"{SVG}text")]


CONV, SEP = ("conv3", 64, "gelu", "batch_norm_dropout"), ("separable5", 16, "relu", "none")


def test_network_of_the_default_space_says_what_it_does() -> None:
    words = texts(draw_network("layer_cnn", [CONV, ("max_pool",), SEP], (1, 8, 8), 10))
    assert [word for word in words if "\u00d7" in word or "conv" in word] == [
        "1 \u00d7 8 \u00d7 8",
        "stem: 3\u00d73 conv",
        "3\u00d73 conv → 64",
        "2\u00d72 max pooling",
        "5\u00d75 separable conv → 16",
    ]
    assert "batch norm · gelu · dropout" in words
    assert words[-3:] == ["global average pooling", "linear", "10 classes"]


@pytest.mark.parametrize("side", [5, 8, 28, 33, 96])
def test_network_of_the_plain_space_has_the_poolings_that_are_built(side: int) -> None:
    space = PlainCNN((3, side, side + 1), 10, depth=5)
    chance = random.Random(side)
    for _ in range(20):
        architecture = space.decode([chance.randrange(size) for size in space.sizes])
        built = [
            {nn.Conv2d: "conv", nn.MaxPool2d: "max", nn.AvgPool2d: "average"}[type(module)]
            for module in space.build(architecture).children()
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        ]
        words = texts(draw_network("plain_cnn", architecture.layers, space.input_shape, 10))
        drawn = [match[1] for word in words if (match := re.match(r".+\u00d7\S+ (\w+)", word))]
        assert [word for word in drawn if word in ("conv", "max", "average")] == built


LAYERS: list[Sequence[Layer]] = [
    [],
    [CONV],
    [CONV, SEP, ("average_pool",)] * 10,
    [(64, 3, "valid")] * 30,
    [("nor_conv_3x3", 0, 1), ("skip_connect", 0, 2), ("none", 1, 2), ("conv3",), ()],
    [(HOSTILE, (HOSTILE, 1, None)), ("x" * 2000,), ("many words " * 200,)],
]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("space", ["layer_cnn", "plain_cnn", "my_own", HOSTILE])
@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 1, 1), (5,), ()])
def test_network_is_drawn_whatever_it_is(
    space: str, layers: Sequence[Layer], shape: tuple[int, ...]
) -> None:
    root = parse(draw_network(space, layers, shape, 10))
    boxes = [(g.find(f"{SVG}rect"), g) for g in root.iter(f"{SVG}g")]
    assert len(boxes) >= len(layers) + 2
    spans = [(float(r.get("y", 0)), float(r.get("height", 0))) for r, _ in boxes if r is not None]
    assert all(y + height < below for (y, height), (below, _) in pairwise(spans))
    assert sum(spans[-1]) < float(root.get("height", 0))
    for group in root.iter(f"{SVG}g"):
        assert all(len(text.text or "") <= 60 for text in group.iter(f"{SVG}text"))


def test_layers_of_the_default_space_are_all_known_by_name() -> None:
    space = LayerCNN((3, 32, 32), 10)
    for seed in range(30):
        chance = random.Random(seed)
        layers = space.decode([chance.randrange(size) for size in space.sizes]).layers
        assert "stem: 3\u00d73 conv" in texts(draw_network("layer_cnn", layers, (3, 32, 32), 10))


@pytest.mark.parametrize("space", [NASBenchMacro((3, 32, 32), 10), NASBench201((3, 32, 32), 10)])
def test_layers_of_the_benchmarks_are_drawn_in_their_order(space: SearchSpace) -> None:
    chance = random.Random(0)
    for _ in range(10):
        architecture = space.decode([chance.randrange(size) for size in space.sizes])
        words = texts(draw_network(space.name, architecture.layers, (3, 32, 32), 10))
        names = [name for (name,) in architecture.layers]
        assert [word for word in words if word in space.decisions[0].choices] == names


@pytest.mark.parametrize(
    "ys",
    [
        [],
        [0.0],
        [97.5],
        [-3.0] * 20,
        [1e9, 1e9 + 1],
        [1e-12, 2e-12],
        [5e-324, 1e-323],
        [1e308, -1e308],
        [1.0, 1.0 + 1e-15],
        [math.nan, math.inf, -math.inf],
        [*range(90, 100), 1.0],
        [0.0, 1e-300, 1e300],
    ],
)
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1.0, 0.37, 1e300])
def test_curve_is_drawn_whatever_the_numbers(ys: list[float], scale: float) -> None:
    pairs = [(scale * index, y) for index, y in enumerate(ys)]
    for limits in ((-math.inf, math.inf), (0.0, 100.0)):
        svg = draw_curve(
            pairs,
            HOSTILE,
            "y" * 500,
            points=pairs,
            failures=[scale, math.nan],
            label=HOSTILE,
            limits=limits,
        )
        root = parse(svg)
        for node in root.iter():
            x, y = (float(node.get(name, 0)) for name in ("cx", "cy"))
            assert 0 <= x <= 480
            assert 0 <= y <= 330
        parse(draw_curve(pairs, "x", "y"))


def test_curve_shows_points_failures_and_what_lies_below() -> None:
    usual = [(float(x), 90.0 + x % 5) for x in range(1, 21)]
    svg = draw_curve(usual[:1], "x", "y", points=usual, failures=[3.0, 4.0])
    assert "below the axis" not in texts(svg)
    assert {"best so far", "one child", "failed"} <= set(texts(svg))
    assert svg.count("<circle") == 20 + 1 + 1  # children, the best, the legend
    assert "below the axis" in texts(draw_curve(usual[:1], "x", "y", points=[*usual, (21.0, 10.0)]))
    assert "nothing to show yet" in texts(draw_curve([], "x", "y"))


def test_ticks_are_round_numbers_inside_the_range() -> None:
    assert list(ticks(0, 60).values()) == ["0", "10", "20", "30", "40", "50", "60"]
    assert list(ticks(93.1, 99.9).values()) == ["94", "96", "98"]
    assert list(ticks(0, 3, whole=True).values()) == ["0", "1", "2", "3"]
    assert list(ticks(0, 0.5).values()) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert list(ticks(0, 6000).values())[1] == "1,000"
    names = list(ticks(1e9, 1e9 + 1).values())
    assert len(set(names)) == len(names) > 2


class Balanced(HTMLParser):
    """Notes every tag, and asserts that each is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.open.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "srcset", "xlink:href"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def render(
    evaluations: Sequence[Evaluation],
    title: str = "A search",
    facts: Mapping[str, str] = MappingProxyType({"seed": "0"}),
    retrained: Sequence[Mapping[str, Any]] = (),
    objective: Objective = OBJECTIVE,
) -> tuple[str, Balanced]:
    """The page, parsed twice and checked to stand alone."""
    page = render_report(
        title,
        facts,
        evaluations,
        objective=objective,
        metrics=METRICS,
        space="layer_cnn",
        input_shape=(1, 8, 8),
        num_classes=10,
        retrained=retrained,
    )
    page.encode("utf-8")
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    assert "link" not in parser.seen
    rest = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//\w|@import|url\(", rest)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    return page, parser


def test_page_of_a_search() -> None:
    scores = {**SEARCH[4].scores, "top5": 0.999}
    best = replace(SEARCH[4], cost={"params": 12_345, "macs": 1_752_000}, scores=scores)
    page, parser = render([*SEARCH[:4], best, *SEARCH[5:]])
    for text in ("90.00%", "99.90%", "12.3k", "1.75 M", "4 of 5", "0.4000", "seed"):
        assert text in parser.texts, text
    assert "5 distinct children in 7 proposals, 15.0 s of training" in page
    assert "87.50% (mean of the 4 trained to the end); the best is 2.50 points better" in page
    assert "The 4 best architectures" in page
    assert "The best of 4 noisy trainings is optimistic" in page
    assert "the loss is no number" in page
    assert page.count("<svg") == 3
    assert "Test results" not in page


def test_page_counts_repeats_apart() -> None:
    children = [child(1, 0.5), child(2, 0.6).recalled(), child(2, 0.6).recalled()]
    page, _ = render(children)
    for name, count in (
        ("proposals", "3"),
        ("distinct children", "2"),
        ("repeats, free", "1"),
    ):
        assert f"<dt>{name}</dt><dd>{count}</dd>" in page


def test_page_shows_at_most_ten_architectures() -> None:
    page, _ = render([child(width, width / 100) for width in range(1, 40)])
    assert "The 10 best architectures" in page
    assert "conv3 30 relu" in page
    assert "conv3 29 relu" not in page


def test_page_without_any_child() -> None:
    page, _ = render([], facts={})
    assert "No child has been evaluated" in page
    assert "<svg" not in page
    assert "The run" not in page


def test_page_where_every_child_failed() -> None:
    page, parser = render([failed(1), failed(2, "out_of_memory"), failed(3, "timeout")])
    assert "None of the 3 children evaluated was trained to the end" in page
    assert "<svg" not in page
    assert "out of memory" in parser.texts


def test_page_of_one_child_that_took_no_time() -> None:
    page, _ = render([child(1, 1.0, seconds=0.0)])
    assert "The only architecture" in page
    assert "100.00%" in page


def test_page_with_test_results() -> None:
    test: dict[str, Any] = {
        "accuracy": {"unit": "%", "mean": 0.9812, "sd": 0.0021},
        "loss": {"unit": "", "mean": 0.1, "sd": 0.2},
    }
    row = {
        "rank": 1,
        "validation": 0.99,
        "test": test,
        "seeds": 3,
        "params": 12_345,
        "macs": 1_752_000,
        "architecture": SEARCH[1].architecture,
    }
    once = {**test, "accuracy": {**test["accuracy"], "sd": None}}
    other = {**row, "rank": 2, "seeds": 4, "architecture": "in <words>", "test": once}
    page, parser = render(SEARCH, retrained=[row, other])
    for text in ("98.12 ± 0.21%", "98.12%", "99.00%", "3", "4"):
        assert text in parser.texts, text
    assert "12.3k parameters, 1.75 M multiply-adds: conv3 1 relu batch_norm" in page
    assert "in &lt;words&gt;" in page
    assert "quote the test results above" in page


def test_hostile_text_is_text() -> None:
    evil = Evaluation(
        Request(Architecture(HOSTILE, ((HOSTILE, (HOSTILE,)),))),
        "ok",
        {"accuracy": 0.5},
        detail=HOSTILE,
        seconds=1.0,
    )
    broken = replace(failed(1), detail=HOSTILE)
    test = {"accuracy": {"unit": HOSTILE, "mean": 0.5, "sd": 0.1}}
    row = {"rank": HOSTILE, "seeds": HOSTILE, "architecture": HOSTILE, "test": test}
    page, parser = render([evil, broken], title=HOSTILE, facts={HOSTILE: HOSTILE}, retrained=[row])
    assert "<script" not in page
    assert "\x00" not in page
    assert parser.seen.count("title") == 1 + 3 + len(re.findall("<g>", page))
    assert "alert('&amp;')" in "".join(parser.texts)


def test_escape_keeps_what_xml_may_hold() -> None:
    assert escape("a\tb\n é 漢 😀") == "a\tb\n é 漢 😀"
    assert escape("<&>\"'") == "&lt;&amp;&gt;&quot;&#x27;"
    assert escape("\x00\ud800\uffff") == "\ufffd" * 3


def test_page_of_something_of_which_less_is_better() -> None:
    objective = make_objective("loss", METRICS)
    page, parser = render(SEARCH, objective=objective)
    assert '<p class="big">0.4</p><p>validation loss</p>' in page
    assert "4 best architectures, by validation loss" in page
    assert "the best is 0.1 better" in page
    places = [parser.texts.index(f"{loss:.4g}") for loss in (0.4, 0.5, 0.7)]
    assert places == sorted(places)


def test_page_of_a_front() -> None:
    sizes = zip(SEARCH, (9, 1, 2, 1, 30, 40, 30), strict=True)
    children = [replace(one, cost={"params": size}) if one.ok else one for one, size in sizes]
    page, _ = render(children, objective=make_objective(["accuracy", "params"], METRICS))
    assert "The front: 2 architectures, in validation accuracy and parameters" in page
    shown = page[page.index("The front") :]
    assert "conv3 2 relu" in shown  # smaller than 3 and 4, and as accurate
    assert "conv3 1 relu" in shown
    assert "conv3 3 relu" not in shown
